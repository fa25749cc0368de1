#ifndef OSTIARY_CLIBPQ_SHIMS_H
#define OSTIARY_CLIBPQ_SHIMS_H

#include <libpq-fe.h>

// A connection's thread waits for its socket and for its owner in one poll; Swift's Glibc module lacks this header.
#include <sys/eventfd.h>

#endif

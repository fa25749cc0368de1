// Counts the process's allocations: the functions of glibc's malloc, defined here first.
#ifndef OSTIARY_ALLOCATION_COUNTER_H
#define OSTIARY_ALLOCATION_COUNTER_H

#include <stdint.h>

uint64_t ostiary_allocation_count(void);

#endif

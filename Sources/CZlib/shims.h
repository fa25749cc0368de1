// zlib as Swift sees it: its initialisers are macros over versioned functions.
#ifndef OSTIARY_CZLIB_SHIMS_H
#define OSTIARY_CZLIB_SHIMS_H

#include <zlib.h>

// 15 bits of window, and a gzip header and trailer (RFC 1952) required.
static inline int ostiary_inflate_init_gzip(z_stream *stream) { return inflateInit2(stream, 15 + 16); }
static inline int ostiary_deflate_init_gzip(z_stream *stream, int level) {
    return deflateInit2(stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
}

#endif

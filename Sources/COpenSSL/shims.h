// System OpenSSL 3 as one module. OpenSSL spells part of its interface as macros, which Swift does not
// import; each one in use gets a `static inline` of the same name with the prefix `ostiary_`.
#ifndef OSTIARY_COPENSSL_SHIMS_H
#define OSTIARY_COPENSSL_SHIMS_H

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/param_build.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

// AEAD controls.
static inline int ostiary_EVP_CTRL_AEAD_GET_TAG(void) { return EVP_CTRL_AEAD_GET_TAG; }
static inline int ostiary_EVP_CTRL_AEAD_SET_TAG(void) { return EVP_CTRL_AEAD_SET_TAG; }

// What to load a key from.
static inline int ostiary_EVP_PKEY_PUBLIC_KEY(void) { return EVP_PKEY_PUBLIC_KEY; }

// Parameters keep the pointer to their name. Here it is a constant of the program; a name passed from Swift would be
// gone when the call returns.
static inline int ostiary_push_rsa(OSSL_PARAM_BLD *builder, const BIGNUM *n, const BIGNUM *e) {
    return OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n)
        && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e);
}
static inline int ostiary_push_ec(OSSL_PARAM_BLD *builder, int is_p384, const void *point, size_t count) {
    return OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, is_p384 ? "P-384" : "P-256", 0)
        && OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, count);
}
static inline int ostiary_hkdf(
    EVP_KDF *kdf, int mode, char *digest, const void *key, size_t key_count,
    const void *salt, size_t salt_count, const void *info, size_t info_count,
    unsigned char *output, size_t output_count
) {
    OSSL_PARAM parameters[6], *next = parameters;
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    int done;
    *next++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
    *next++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
    *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)key, key_count);
    if (salt_count > 0)
        *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, salt_count);
    if (info_count > 0)
        *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, info_count);
    *next = OSSL_PARAM_construct_end();
    done = context != NULL && EVP_KDF_derive(context, output, output_count, parameters) > 0;
    EVP_KDF_CTX_free(context);
    return done;
}
static inline OSSL_PARAM ostiary_mac_digest(char *name) {
    return OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0);
}

// BIO: retry flags of our own BIO.
static inline void ostiary_BIO_set_retry_read(BIO *bio) { BIO_set_retry_read(bio); }
static inline void ostiary_BIO_clear_retry_flags(BIO *bio) { BIO_clear_retry_flags(bio); }

// Stacks. Ownership follows the function wrapped: `push` takes what it is given.
static inline STACK_OF(X509) *ostiary_sk_X509_new(void) { return sk_X509_new_null(); }
static inline int ostiary_sk_X509_push(STACK_OF(X509) *s, X509 *x) { return sk_X509_push(s, x); }
static inline int ostiary_sk_X509_num(const STACK_OF(X509) *s) { return sk_X509_num(s); }
static inline X509 *ostiary_sk_X509_value(const STACK_OF(X509) *s, int i) { return sk_X509_value(s, i); }
static inline void ostiary_sk_X509_pop_free(STACK_OF(X509) *s) { sk_X509_pop_free(s, X509_free); }

static inline GENERAL_NAMES *ostiary_GENERAL_NAMES_new(void) { return sk_GENERAL_NAME_new_null(); }
static inline int ostiary_GENERAL_NAMES_push(GENERAL_NAMES *s, GENERAL_NAME *n) { return sk_GENERAL_NAME_push(s, n); }
static inline int ostiary_GENERAL_NAMES_num(const GENERAL_NAMES *s) { return sk_GENERAL_NAME_num(s); }
static inline GENERAL_NAME *ostiary_GENERAL_NAMES_value(const GENERAL_NAMES *s, int i) { return sk_GENERAL_NAME_value(s, i); }

static inline STACK_OF(X509_EXTENSION) *ostiary_sk_X509_EXTENSION_new(void) { return sk_X509_EXTENSION_new_null(); }
static inline void ostiary_sk_X509_EXTENSION_pop_free(STACK_OF(X509_EXTENSION) *s) { sk_X509_EXTENSION_pop_free(s, X509_EXTENSION_free); }
static inline EXTENDED_KEY_USAGE *ostiary_EXTENDED_KEY_USAGE_new(void) { return sk_ASN1_OBJECT_new_null(); }
static inline int ostiary_EXTENDED_KEY_USAGE_push(EXTENDED_KEY_USAGE *s, int nid) { return sk_ASN1_OBJECT_push(s, OBJ_nid2obj(nid)); }

// TLS contexts.
static inline int ostiary_SSL_CTX_set_min_proto_version(SSL_CTX *c, int v) { return (int)SSL_CTX_set_min_proto_version(c, v); }
static inline int ostiary_SSL_CTX_set_max_proto_version(SSL_CTX *c, int v) { return (int)SSL_CTX_set_max_proto_version(c, v); }
static inline uint64_t ostiary_SSL_options(int tickets) {
    uint64_t options = SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE
        | SSL_OP_PRIORITIZE_CHACHA;
    return tickets ? options : options | SSL_OP_NO_TICKET;
}
static inline void ostiary_SSL_CTX_set_lean_mode(SSL_CTX *c) {
    // A session at rest owns no record buffers; a short write never happens, since our BIO always takes all.
    SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(c, 64 * 1024);
}
static inline int ostiary_SSL_CTX_set1_groups_list(SSL_CTX *c, const char *list) { return (int)SSL_CTX_set1_groups_list(c, (char *)list); }
static inline int ostiary_SSL_CTX_add1_chain_cert(SSL_CTX *c, X509 *x) { return (int)SSL_CTX_add1_chain_cert(c, x); }

// TLS sessions.
static inline int ostiary_SSL_set_tlsext_host_name(SSL *s, const char *name) { return (int)SSL_set_tlsext_host_name(s, name); }
static inline void ostiary_SSL_set_app_data(SSL *s, void *p) { SSL_set_app_data(s, p); }
static inline void *ostiary_SSL_get_app_data(const SSL *s) { return SSL_get_app_data(s); }

// Error codes: what an unexpected end of a stream looks like, and whether a code is a TLS reason.
static inline int ostiary_ERR_is_ssl(unsigned long e) { return ERR_GET_LIB(e) == ERR_LIB_SSL; }
static inline int ostiary_ERR_reason(unsigned long e) { return ERR_GET_REASON(e); }

#endif

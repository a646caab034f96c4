#include "hessian.h"
#include "bytes.h"
#include <stdlib.h>
enum moeq_status moeq_hessian_init(struct moeq_hessian *h, uint64_t n, struct moeq_error *err){ h->n=n; h->sums=moeq_calloc(n*n,sizeof(double),err); return h->sums?MOEQ_OK:MOEQ_OVER_MEMORY; }
void moeq_hessian_free(struct moeq_hessian *h){ free(h->sums); *h=(struct moeq_hessian){0}; }
enum moeq_status moeq_hessian_add(struct moeq_hessian *h, struct moeq_pool *pool, const float *x, uint64_t ldx, const uint32_t *rows, const float *weights, uint64_t n_tokens, struct moeq_error *err)
{ (void)pool;(void)err; for(uint64_t i=0;i<h->n;i++) for(uint64_t k=0;k<=i;k++){ float s=0; for(uint64_t t=0;t<n_tokens;t++){const float*r=x+(rows?rows[t]:t)*ldx; s+=(weights?weights[t]:1)*r[i]*r[k];} h->sums[i*h->n+k]+=(double)s; } return MOEQ_OK; }

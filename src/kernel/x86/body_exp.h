/* dt_expf on 16 lanes: the very steps of expf.h, so the very bits. */
#ifndef DT_KERNEL_BODY_EXP_H
#define DT_KERNEL_BODY_EXP_H

V16_INLINE v16 v_exp(v16 x) {
    x = v_min(v_set(DT_EXP_HI), x); /* constant first: a NaN in x goes through */
    x = v_max(v_set(DT_EXP_LO), x);

    v16 t = v_fma(x, v_set(DT_EXP_LOG2E), v_set(DT_EXP_MAGIC));
    v16 n = v_sub(t, v_set(DT_EXP_MAGIC));
    v16 r = v_fma(n, v_set(-DT_EXP_LN2_HI), x);
    r = v_fma(n, v_set(-DT_EXP_LN2_LO), r);
    v16 p = v_fma(v_set(DT_EXP_C6), r, v_set(DT_EXP_C5));
    p = v_fma(p, r, v_set(DT_EXP_C4));
    p = v_fma(p, r, v_set(DT_EXP_C3));
    p = v_fma(p, r, v_set(DT_EXP_C2));
    p = v_fma(p, r, v_set(1.0f));
    p = v_fma(p, r, v_set(1.0f));

    v16 s1, s2;
    v_exp_scales(t, &s1, &s2);
    return v_mul(v_mul(p, s1), s2);
}

#endif

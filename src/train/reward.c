/* M's reward: what m gained by the signal, less the price of M's length. */
#include "train/train.h"

double dt_reward_M(double r_Mm, double r_m, double u, double lambda, double L, double B) {
    return r_Mm - u * r_m - lambda * L / B;
}

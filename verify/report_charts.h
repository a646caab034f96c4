/* Pictures of a report, as SVG inside an HTML page: colours are the page's variables, so that they follow its
 * light or dark scheme. */
#ifndef MOEQ_REPORT_CHARTS_H
#define MOEQ_REPORT_CHARTS_H

#include "report.h"

#define MOEQ_CHART_STEPS 7 /* of the colours --s0 … --s6 */

moeq_report_write moeq_chart_kld; /* histogram of the tokens' KL divergence, bins of a quarter of a decade */
moeq_report_write moeq_chart_layers;  /* both errors of each layer */
moeq_report_write moeq_chart_routers; /* share of experts that stay the same, each layer */

/* Layers by experts: bits of each expert's weights, and the error of what its layer adds to its tokens. */
moeq_report_write moeq_chart_levels;
moeq_report_write moeq_chart_experts;

#endif

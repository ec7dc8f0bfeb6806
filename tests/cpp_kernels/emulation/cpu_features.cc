// The features of this machine and, beside them, those that are emulated. The build has renamed the
// true detection.
#include "cpu_features.h"

namespace stepguard {

CpuFeatures detect_true_cpu();

CpuFeatures detect_cpu() {
  CpuFeatures features = detect_true_cpu();
  features.avx_vnni = true;
  features.avx512f = features.avx512bw = features.avx512vl = features.avx512dq = true;
  features.avx512_vnni = features.avx512_bf16 = features.zmm_saved = true;
  features.amx_tile = features.amx_int8 = features.amx_bf16 = features.tiles_saved = true;
  return features;
}

}  // namespace stepguard

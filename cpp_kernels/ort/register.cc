#include "register.h"

namespace stepguard {

std::vector<std::unique_ptr<BoundOp>> bind_ops(OpContext& context) {
  std::vector<std::unique_ptr<BoundOp>> ops;
  for (const BoundOp& op :
       {bind_embed(context), bind_rms_norm(context), bind_linear(context), bind_attention(context),
        bind_delta_net(context), bind_read_out(context), bind_next_token(context)}) {
    ops.push_back(std::make_unique<BoundOp>(op));
  }
  return ops;
}

}  // namespace stepguard

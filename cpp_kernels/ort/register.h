// The custom ops of the domain "stepguard", bound to one engine's context.
#pragma once

#include <memory>
#include <vector>

#include "op.h"

namespace stepguard {

// In the order in which a forward meets them. The objects must outlive the session.
std::vector<std::unique_ptr<BoundOp>> bind_ops(OpContext& context);

// The same operations on a GPU, for a context with a device.
std::vector<std::unique_ptr<BoundOp>> bind_device_ops(OpContext& context);

// Defined in embed.cc, rms_norm.cc, linear.cc, attention.cc, delta_net.cc, read_out.cc and
// next_token.cc.
BoundOp bind_embed(OpContext& context);
BoundOp bind_rms_norm(OpContext& context);
BoundOp bind_linear(OpContext& context);
BoundOp bind_attention(OpContext& context);
BoundOp bind_delta_net(OpContext& context);
BoundOp bind_read_out(OpContext& context);
BoundOp bind_next_token(OpContext& context);

}  // namespace stepguard

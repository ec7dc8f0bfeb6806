// Operations of a GPU over the emulated library, called as ONNX Runtime calls them. Two nodes of
// one forward that differ in what they read must not get each other's tables.
#include <cmath>

#include "expect.h"
#include "fake_ort.h"
#include "ort/cuda/device.h"
#include "ort/register.h"
#include "pages.h"
#include "serial.h"

extern "C" const stepguard::cuda::Table* stepguard_cuda_table();

using namespace stepguard;

namespace {

constexpr int64_t kDim = 4, kRows = 5;

struct Attended {
  std::string refused;
  std::vector<float> out;
};

template <class T>
std::unique_ptr<OrtValue> tensor(ONNXTensorElementDataType type, std::vector<int64_t> shape,
                                 const std::vector<T>& values) {
  auto made = fake::make_tensor(type, std::move(shape));
  std::copy(values.begin(), values.end(), static_cast<T*>(made->data));
  return made;
}

// One head of attention over `rows` new tokens, of which these are read.
Attended attend(const BoundOp& op, int64_t rows, const std::vector<int32_t>& reads) {
  OrtKernelInfo info{"attention", {}, {}, {}};
  info.integers = {
      {"heads", 1}, {"kv_heads", 1}, {"head_dim", kDim}, {"rotary_dim", kDim}, {"gate", 0}};
  info.reals = {{"scale", 0.5F}, {"epsilon", 1e-6F}, {"norm_offset", 0.0F}};
  std::vector<float> qkv;
  for (int64_t i = 0; i < rows * 3 * kDim; ++i) {
    qkv.push_back(std::sin(static_cast<float>(i)));
  }
  AttentionShape shape;
  shape.kv_heads = 1;
  shape.head_dim = kDim;
  shape.kv_half = false;
  const auto count = static_cast<int64_t>(reads.size());
  std::vector<std::unique_ptr<OrtValue>> inputs;
  inputs.push_back(tensor(kOrtFloat, {rows, 3 * kDim}, qkv));
  inputs.push_back(
      tensor<int32_t>(kOrtInt32, {1, 8}, {0, static_cast<int32_t>(rows), 0, 0, 1, -1, -1, 0}));
  inputs.push_back(tensor<int32_t>(kOrtInt32, {1}, {0}));
  inputs.push_back(fake::make_tensor(kOrtUint8, {1, shape.page_bytes()}));
  inputs.push_back(tensor<int32_t>(kOrtInt32, {1}, {0}));
  inputs.push_back(tensor<float>(kOrtFloat, {kDim / 2}, {1.0F, 0.1F}));
  inputs.push_back(nullptr);
  inputs.push_back(nullptr);
  inputs.push_back(tensor(kOrtInt32, {count}, reads));

  Attended found;
  void* kernel = nullptr;
  OrtStatus* status = op.CreateKernelV2(&op, nullptr, &info, &kernel);
  OrtKernelContext call;
  for (const auto& input : inputs) call.inputs.push_back(input.get());
  if (status == nullptr) {
    status = op.KernelComputeV2(kernel, &call);
    op.KernelDestroy(kernel);
  }
  if (status != nullptr) {
    found.refused = status->text;
    delete status;
    return found;
  }
  const auto* out = static_cast<const float*>(call.outputs[0]->data);
  found.out.assign(out, out + count * kDim);
  return found;
}

struct Bound {
  Serial serial;
  OpContext context;
  Device device{*stepguard_cuda_table(), 0};

  Bound() {
    context.ort.fill(fake::functions());
    context.parallel = &serial;
    context.table = find_table("generic");
    context.device = &device;
    context.forward = 1;
  }
};

void expect_near(const Attended& got, const Attended& wanted) {
  EXPECT_TRUE(got.refused.empty());
  EXPECT_EQ(got.out.size(), wanted.out.size());
  for (size_t i = 0; i < std::min(got.out.size(), wanted.out.size()); ++i) {
    EXPECT_TRUE(std::abs(got.out[i] - wanted.out[i]) < 1e-5F);
  }
}

void test_nodes_of_one_forward() {
  Bound cpu, gpu;
  const BoundOp reference = bind_attention(cpu.context), op = bind_device_attention(gpu.context);
  for (const std::vector<int32_t>& reads :
       {std::vector<int32_t>{4}, {0, 2, 3}, {1}, {4, 4, 0, 1, 2, 3}}) {
    ++cpu.context.forward;  // the GPU's stays: all are nodes of one forward
    expect_near(attend(op, kRows, reads), attend(reference, kRows, reads));
  }
}

void test_rows_that_are_not_there() {
  Bound gpu;
  const BoundOp op = bind_device_attention(gpu.context);
  for (const auto& [rows, row] : {std::pair<int64_t, int32_t>{kRows, 5}, {kRows, -1}, {0, 0}}) {
    EXPECT_TRUE(attend(op, rows, {row}).refused.find("reads") != std::string::npos);
  }
  EXPECT_TRUE(attend(op, kRows, {4}).refused.empty());
  EXPECT_TRUE(attend(op, kRows, {5}).refused.find("reads") != std::string::npos);
}

}  // namespace

int main() {
  test_nodes_of_one_forward();
  test_rows_that_are_not_there();
  return failures() == 0 ? 0 : 1;
}

// The addon: one Instance per environment (main thread and workers alike), and its table of calls.
#include "bridge.h"

namespace {

Napi::Object load(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new berth::Instance(env));
  berth::defineNetwork(env, exports);
  berth::defineProcess(env, exports);
  berth::defineAgent(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(berth, load)

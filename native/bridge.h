// Between JavaScript and the kernel files: arguments checked on the way in, promises settled on the way out.
// Together with addon.cc the only place that knows Node; it makes no system call.
#pragma once

#include <napi.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>

#include "threads.h"

namespace berth {

const char* errnoName(int error);
Napi::Error toError(Napi::Env env, const Failure& failure);

// Arguments of one call. The first wrong one throws a TypeError that names it; the caller returns when `bad`.
class Args {
 public:
  explicit Args(const Napi::CallbackInfo& info) : info_(info) {}

  // Whole numbers of their type; neither NaN nor a fraction has one to be cast to.
  int32_t integer(size_t i) { return whole<int32_t>(i, "a whole number of 32 bits"); }
  uint32_t word(size_t i) { return whole<uint32_t>(i, "a whole number of 32 bits, not negative"); }
  uint16_t port(size_t i) { return whole<uint16_t>(i, "a port"); }
  // As far as JavaScript counts exactly.
  uint64_t count(size_t i) { return whole<uint64_t>(i, "a whole number, not negative", 9007199254740991); }
  bool flag(size_t i) { return expect(i, info_[i].IsBoolean(), "a boolean") && info_[i].As<Napi::Boolean>().Value(); }
  std::string text(size_t i) { return text(i, info_[i], "a string without NUL"); }
  std::vector<std::string> texts(size_t i) {
    std::vector<std::string> result;
    if (!expect(i, info_[i].IsArray(), "an array of strings")) return result;
    Napi::Array array = info_[i].As<Napi::Array>();
    for (uint32_t n = 0; n < array.Length() && !bad_; n++) {
      result.push_back(text(i, array.Get(n), "an array of strings without NUL"));
    }
    return result;
  }
  // A typed array of exactly this element type, copied: the caller may change its own while the thread works.
  template <typename T>
  std::vector<T> elements(size_t i, napi_typedarray_type type) {
    std::vector<T> result;
    if (!expect(i, info_[i].IsTypedArray() && info_[i].As<Napi::TypedArray>().TypedArrayType() == type,
                "a typed array"))
      return result;
    auto array = info_[i].As<Napi::TypedArrayOf<T>>();
    result.assign(array.Data(), array.Data() + array.ElementLength());
    return result;
  }
  bool missing(size_t i) const { return info_[i].IsNull() || info_[i].IsUndefined(); }
  bool bad() const { return bad_; }

 private:
  template <typename T>
  T whole(size_t i, const char* what, double most = static_cast<double>(std::numeric_limits<T>::max())) {
    double value = info_[i].IsNumber() ? info_[i].As<Napi::Number>().DoubleValue() : NAN;
    bool fits = value >= static_cast<double>(std::numeric_limits<T>::min()) && value <= most &&
                value == std::trunc(value);
    return expect(i, fits, what) ? static_cast<T>(value) : T{};
  }
  // The kernel's strings end at a NUL: a path with one would be another path.
  std::string text(size_t i, Napi::Value value, const char* what) {
    std::string result = value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
    return expect(i, value.IsString() && result.find('\0') == std::string::npos, what) ? result : std::string();
  }
  bool expect(size_t i, bool fits, const char* what) {
    if (!fits && !bad_) {
      bad_ = true;
      // A getter of the argument's own may have thrown: another error on top of it would end the process.
      if (info_.Env().IsExceptionPending()) return false;
      Napi::TypeError::New(info_.Env(), "argument " + std::to_string(i + 1) + " must be " + what)
          .ThrowAsJavaScriptException();
    }
    return fits;
  }
  const Napi::CallbackInfo& info_;
  bool bad_ = false;
};

// What a thread hands back to the event loop.
struct Completion {
  // While a worker is being ended no promise can be made: `promise` is empty then, and nothing may be begun.
  explicit Completion(Napi::Env env) {
    napi_value made = nullptr;
    if (napi_create_promise(env, &deferred, &made) == napi_ok) promise = Napi::Value(env, made);
  }
  virtual ~Completion() = default;
  virtual void settle(Napi::Env env) = 0;
  void resolve(Napi::Env env, Napi::Value value) { napi_resolve_deferred(env, deferred, value); }
  void reject(Napi::Env env, const Failure& failure) {
    napi_reject_deferred(env, deferred, toError(env, failure).Value());
  }

  napi_deferred deferred = nullptr;
  Napi::Value promise;  // valid only in the call that made it
  bool awaited = true;   // keeps the process alive until it is settled, see Instance::begin
};

template <typename T>
struct Answer : Completion {
  using Convert = std::function<Napi::Value(Napi::Env, T&)>;
  Answer(Napi::Env env, Convert to) : Completion(env), convert(std::move(to)) {}
  void settle(Napi::Env env) override {
    if (result->ok()) {
      resolve(env, convert(env, result->value));
    } else {
      reject(env, result->failure);
    }
  }
  Convert convert;
  std::unique_ptr<Result<T>> result;
};

// Everything of one environment (the main thread's, or a worker's): its threads and the way back to its event loop.
class Instance {
 public:
  explicit Instance(Napi::Env env);
  static Instance* of(Napi::Env env) { return env.GetInstanceData<Instance>(); }

  // Runs `work` on the thread of namespace `id`; the promise is settled with what `convert` makes of its result.
  template <typename T>
  Napi::Value run(Napi::Env env, uint32_t id, std::function<Result<T>(int cancel)> work,
                  typename Answer<T>::Convert convert) {
    auto answer = std::make_shared<std::unique_ptr<Answer<T>>>(new Answer<T>(env, std::move(convert)));
    Napi::Value promise = (*answer)->promise;
    if (promise.IsEmpty()) return promise;
    auto found = namespaces.find(id);
    if (found == namespaces.end()) {
      (*answer)->reject(env, Failure{EBADF, "namespace"});
      return promise;
    }
    begin(env);
    int cancel = found->second->cancel();
    found->second->post([this, answer, work = std::move(work), cancel] {
      (*answer)->result.reset(new Result<T>(work(cancel)));
      finish(answer->release());
    });
    return promise;
  }

  void begin(Napi::Env env);            // a promise is under way: keep the process alive
  void finish(Completion* completion);  // from any thread
  void shutdown();                      // joins all threads; at the end of the environment

  std::map<uint32_t, std::unique_ptr<NamespaceThread>> namespaces;
  std::map<uint32_t, std::unique_ptr<HandoffServer>> servers;
  std::unique_ptr<ExitWatcher> exits = std::make_unique<ExitWatcher>();
  uint32_t nextId = 1;

 private:
  static void deliver(Napi::Env env, Napi::Function, Instance* instance, Completion* completion);
  using Channel = Napi::TypedThreadSafeFunction<Instance, Completion, &Instance::deliver>;
  Channel channel_;
  uint32_t underWay_ = 0;
};

struct Done {};
using Info = Napi::CallbackInfo;

inline Napi::Value undefined(Napi::Env env, Done&) { return env.Undefined(); }

// A call whose work returns nothing but success or failure.
inline Napi::Value runPlain(const Info& info, uint32_t id, std::function<Failure()> work) {
  return Instance::of(info.Env())
      ->run<Done>(
          info.Env(), id,
          [work = std::move(work)](int) -> Result<Done> {
            Failure why = work();
            if (why) return why;
            return Done{};
          },
          undefined);
}

// While a worker is being ended no array can be made any more: Data() is null then.
template <typename T>
Napi::Value toUint32Array(Napi::Env env, const std::vector<T>& items) {
  static_assert(sizeof(T) % sizeof(uint32_t) == 0, "plain words");
  size_t words = items.size() * sizeof(T) / sizeof(uint32_t);
  auto array = Napi::Uint32Array::New(env, words);
  if (words && array.Data()) std::memcpy(array.Data(), items.data(), words * sizeof(uint32_t));
  return array;
}

inline Napi::Value toInt32Array(Napi::Env env, const std::vector<int>& items) {
  auto array = Napi::Int32Array::New(env, items.size());
  if (!items.empty() && array.Data()) std::memcpy(array.Data(), items.data(), items.size() * sizeof(int));
  return array;
}

// { rows, devices, fromProc }, as SocketTable of src/kernel/sockets.ts reads it.
Napi::Object toTable(Napi::Env env, SocketTable&& table);

inline Napi::Value throwFailure(Napi::Env env, const Failure& why) {
  toError(env, why).ThrowAsJavaScriptException();
  return env.Undefined();
}

// The calls, each `name(info)`; defined in addon_*.cc.
void defineNetwork(Napi::Env env, Napi::Object exports);
void defineProcess(Napi::Env env, Napi::Object exports);
void defineAgent(Napi::Env env, Napi::Object exports);

}  // namespace berth

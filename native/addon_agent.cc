// Calls that a process which lives long needs: the ends of other processes, and descriptors that outlive it.
#include <optional>

#include "bridge.h"

namespace berth {

namespace {

// A watch keeps nobody alive: it waits for something that may take years.
struct Ended : Completion {
  explicit Ended(Napi::Env env) : Completion(env) { awaited = false; }
  void settle(Napi::Env env) override {
    if (!end) return resolve(env, env.Null());
    Napi::Array words = Napi::Array::New(env, 3);
    words.Set(0u, Napi::Number::New(env, end->how));
    words.Set(1u, Napi::Number::New(env, end->status));
    words.Set(2u, Napi::Boolean::New(env, end->core));
    resolve(env, words);
  }
  std::optional<ProcessEnd> end;
};

// watchExit(pid, startTicks, reap): [watch, Promise<[how, status, core] | null>]; throws
Napi::Value watchExit(const Info& info) {
  Args in(info);
  int pid = in.integer(0);
  auto ticks = in.count(1);
  bool reap = in.flag(2);
  if (in.bad()) return info.Env().Undefined();
  Instance* instance = Instance::of(info.Env());
  // Shared, because std::function copies; whoever takes the completion out of it settles it.
  auto ended = std::make_shared<std::unique_ptr<Ended>>(new Ended(info.Env()));
  Napi::Value promise = (*ended)->promise;
  if (promise.IsEmpty()) return promise;
  uint32_t id = instance->nextId++;
  Failure why = instance->exits->watch(id, pid, ticks, reap, [instance, ended](const ProcessEnd* end) {
    if (end) (*ended)->end = *end;
    instance->finish(ended->release());
  });
  if (why) {
    (*ended)->resolve(info.Env(), info.Env().Null());
    return throwFailure(info.Env(), why);
  }
  Napi::Array result = Napi::Array::New(info.Env(), 2);
  result.Set(0u, Napi::Number::New(info.Env(), id));
  result.Set(1u, promise);
  return result;
}

// unwatchExit(watch): its promise becomes null, unless the process has ended already
Napi::Value unwatchExit(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  if (!in.bad()) Instance::of(info.Env())->exits->unwatch(id);
  return info.Env().Undefined();
}

// reapOthers(spared): how many
Napi::Value reapOthers(const Info& info) {
  Args in(info);
  auto spared = in.elements<int32_t>(0, napi_int32_array);
  if (in.bad()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), Instance::of(info.Env())->exits->reapOthers(spared));
}

// becomeSubreaper(); throws
Napi::Value becomeSubreaperCall(const Info& info) {
  if (Failure why = becomeSubreaper()) return throwFailure(info.Env(), why);
  return info.Env().Undefined();
}

// notifyService(path, message, descriptors); throws
Napi::Value notifyCall(const Info& info) {
  Args in(info);
  std::string path = in.text(0), message = in.text(1);
  auto descriptors = in.elements<int32_t>(2, napi_int32_array);
  if (in.bad()) return info.Env().Undefined();
  if (Failure why = notifyService(path, message, descriptors)) return throwFailure(info.Env(), why);
  return info.Env().Undefined();
}

// copyDescriptors(descriptors): Int32Array; throws
Napi::Value copyCall(const Info& info) {
  Args in(info);
  auto descriptors = in.elements<int32_t>(0, napi_int32_array);
  if (in.bad()) return info.Env().Undefined();
  Result<std::vector<int>> copies = copyDescriptors(descriptors);
  return copies.ok() ? toInt32Array(info.Env(), copies.value) : throwFailure(info.Env(), copies.failure);
}

// adoptSockets(descriptors): Int32Array
Napi::Value adoptCall(const Info& info) {
  Args in(info);
  auto descriptors = in.elements<int32_t>(0, napi_int32_array);
  if (in.bad()) return info.Env().Undefined();
  return toInt32Array(info.Env(), adoptSockets(descriptors));
}

Napi::Array toArray(Napi::Env env, const DescribedSocket& socket) {
  Napi::Array result = Napi::Array::New(env);
  result.Set(0u, Napi::Number::New(env, socket.fd));
  result.Set(1u, Napi::Boolean::New(env, socket.listening));
  result.Set(2u, Napi::Number::New(env, socket.netns));
  return result;
}

// describeSockets(descriptors): { table, inet: [fd, listening, netns][], local: [fd, listening, netns, inode, abstract,
// path][] }
Napi::Value describeCall(const Info& info) {
  Args in(info);
  auto descriptors = in.elements<int32_t>(0, napi_int32_array);
  if (in.bad()) return info.Env().Undefined();
  Napi::Env env = info.Env();
  DescribedSockets sockets = describeSockets(descriptors);
  Napi::Array inet = Napi::Array::New(env, sockets.inet.size());
  for (uint32_t i = 0; i < sockets.inet.size(); i++) inet.Set(i, toArray(env, sockets.inet[i]));
  Napi::Array local = Napi::Array::New(env, sockets.local.size());
  for (uint32_t i = 0; i < sockets.local.size(); i++) {
    const UnixListener& name = sockets.local[i].name;
    Napi::Array entry = toArray(env, sockets.local[i]);
    entry.Set(3u, Napi::Number::New(env, name.inode));
    entry.Set(4u, Napi::Boolean::New(env, name.abstract));
    entry.Set(5u, Napi::String::New(env, name.path));
    local.Set(i, entry);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("table", toTable(env, std::move(sockets.table)));
  result.Set("inet", inet);
  result.Set("local", local);
  return result;
}

}  // namespace

void defineAgent(Napi::Env env, Napi::Object exports) {
  exports.Set("watchExit", Napi::Function::New(env, watchExit));
  exports.Set("unwatchExit", Napi::Function::New(env, unwatchExit));
  exports.Set("reapOthers", Napi::Function::New(env, reapOthers));
  exports.Set("becomeSubreaper", Napi::Function::New(env, becomeSubreaperCall));
  exports.Set("notifyService", Napi::Function::New(env, notifyCall));
  exports.Set("copyDescriptors", Napi::Function::New(env, copyCall));
  exports.Set("adoptSockets", Napi::Function::New(env, adoptCall));
  exports.Set("describeSockets", Napi::Function::New(env, describeCall));
}

}  // namespace berth

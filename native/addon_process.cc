// Calls that work on processes, descriptors and files; what can block runs on a namespace's thread.
#include "bridge.h"

namespace berth {

namespace {

using Words = std::vector<uint32_t>;

// holders(id, inodes, hints): Promise<Uint32Array> of (inode, pid, fd)
Napi::Value holders(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  auto inodes = in.elements<uint32_t>(1, napi_uint32_array);
  auto hints = in.elements<int32_t>(2, napi_int32_array);
  if (in.bad()) return info.Env().Undefined();
  return Instance::of(info.Env())
      ->run<std::vector<Holder>>(
          info.Env(), id,
          [inodes = std::move(inodes), hints = std::move(hints)](int) -> Result<std::vector<Holder>> {
            return holdersOf(inodes, hints);
          },
          toUint32Array<Holder>);
}

// socketsOf(id, pid): Promise<Uint32Array> of (inode, pid, fd)
Napi::Value socketsOfCall(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  int pid = in.integer(1);
  if (in.bad()) return info.Env().Undefined();
  return Instance::of(info.Env())
      ->run<std::vector<Holder>>(info.Env(), id, [pid](int) { return socketsOf(pid); }, toUint32Array<Holder>);
}

// processesNamed(id, comm): Promise<Int32Array>
Napi::Value processesNamedCall(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  std::string comm = in.text(1);
  if (in.bad()) return info.Env().Undefined();
  return Instance::of(info.Env())
      ->run<std::vector<int>>(
          info.Env(), id, [comm](int) -> Result<std::vector<int>> { return processesNamed(comm); },
          [](Napi::Env env, std::vector<int>& pids) { return toInt32Array(env, pids); });
}

// duplicate(id, pid, startTicks, inodes): Promise<Uint32Array> of (inode, descriptor)
Napi::Value duplicateCall(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  int pid = in.integer(1);
  auto ticks = in.count(2);
  auto inodes = in.elements<uint32_t>(3, napi_uint32_array);
  if (in.bad()) return info.Env().Undefined();
  return Instance::of(info.Env())
      ->run<std::vector<Duplicate>>(
          info.Env(), id,
          [pid, ticks, inodes = std::move(inodes)](int) { return duplicateSockets(pid, ticks, inodes); },
          toUint32Array<Duplicate>);
}

// share(id, pid, startTicks, fd, inode): Promise<void>
Napi::Value shareCall(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  int pid = in.integer(1);
  auto ticks = in.count(2);
  int fd = in.integer(3);
  auto inode = in.word(4);
  if (in.bad()) return info.Env().Undefined();
  return runPlain(info, id, [=] { return shareSocket(pid, ticks, fd, inode); });
}

// getsocks(id, path, timeoutMs): Promise<Int32Array>
Napi::Value getsocksCall(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  std::string path = in.text(1);
  int timeout = in.integer(2);
  if (in.bad()) return info.Env().Undefined();
  return Instance::of(info.Env())
      ->run<std::vector<int>>(
          info.Env(), id, [path, timeout](int cancel) { return askForSockets(path, timeout, cancel); },
          [](Napi::Env env, std::vector<int>& descriptors) { return toInt32Array(env, descriptors); });
}

// bindUnix(id, path): Promise<descriptor>
Napi::Value bindUnixCall(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  std::string path = in.text(1);
  if (in.bad()) return info.Env().Undefined();
  return Instance::of(info.Env())
      ->run<UniqueFd>(
          info.Env(), id, [path](int) { return bindUnix(path); },
          [](Napi::Env env, UniqueFd& fd) -> Napi::Value { return Napi::Number::New(env, fd.release()); });
}

// serveSockets(path, uid, descriptors, namespaces, devices): server id; throws
Napi::Value serveSockets(const Info& info) {
  Args in(info);
  std::string path = in.text(0);
  auto uid = in.word(1);
  auto descriptors = in.elements<int32_t>(2, napi_int32_array);
  auto namespaces = in.texts(3);
  auto devices = in.texts(4);
  if (in.bad()) return info.Env().Undefined();
  if (namespaces.size() != descriptors.size() || devices.size() != descriptors.size()) {
    return throwFailure(info.Env(), Failure{EINVAL, "_getsocks"});
  }
  std::vector<HandedSocket> sockets;
  for (size_t i = 0; i < descriptors.size(); i++) sockets.push_back({descriptors[i], namespaces[i], devices[i]});
  Instance* instance = Instance::of(info.Env());
  auto server = std::make_unique<HandoffServer>();
  if (Failure why = server->start(path, uid, std::move(sockets))) return throwFailure(info.Env(), why);
  uint32_t id = instance->nextId++;
  instance->servers[id] = std::move(server);
  return Napi::Number::New(info.Env(), id);
}

// serverServed(server): how many askers got all
Napi::Value serverServed(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  if (in.bad()) return info.Env().Undefined();
  auto& servers = Instance::of(info.Env())->servers;
  auto found = servers.find(id);
  return Napi::Number::New(info.Env(), found == servers.end() ? 0 : found->second->served());
}

// stopServer(server): how many askers got all
Napi::Value stopServer(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  if (in.bad()) return info.Env().Undefined();
  auto& servers = Instance::of(info.Env())->servers;
  auto found = servers.find(id);
  if (found == servers.end()) return Napi::Number::New(info.Env(), 0);
  found->second->stop();
  uint32_t served = found->second->served();
  servers.erase(found);
  return Napi::Number::New(info.Env(), served);
}

// closeDescriptors(descriptors)
Napi::Value closeDescriptors(const Info& info) {
  Args in(info);
  auto descriptors = in.elements<int32_t>(0, napi_int32_array);
  if (in.bad()) return info.Env().Undefined();
  for (int fd : descriptors) UniqueFd closing(fd);
  return info.Env().Undefined();
}

// readSysctl(id, path): Promise<string>
Napi::Value readSysctlCall(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  std::string path = in.text(1);
  if (in.bad()) return info.Env().Undefined();
  return Instance::of(info.Env())
      ->run<std::string>(
          info.Env(), id, [path](int) { return readSysctl(path); },
          [](Napi::Env env, std::string& text) -> Napi::Value { return Napi::String::New(env, text); });
}

// writeSysctl(id, path, text, offset): Promise<void>, one write(2)
Napi::Value writeSysctlCall(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  std::string path = in.text(1), text = in.text(2);
  auto offset = static_cast<int64_t>(in.count(3));
  if (in.bad()) return info.Env().Undefined();
  return runPlain(info, id, [=] { return writeSysctl(path, text, offset); });
}

// syncFileSystem(id, path): Promise<void>
Napi::Value syncCall(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  std::string path = in.text(1);
  if (in.bad()) return info.Env().Undefined();
  return runPlain(info, id, [path] { return syncFileSystem(path); });
}

// releaseMemory(id): Promise<void>, on the thread of the namespace: it takes milliseconds
Napi::Value releaseCall(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  if (in.bad()) return info.Env().Undefined();
  return runPlain(info, id, [] {
    releaseMemory();
    return Failure{};
  });
}

// signalProcess(pid, startTicks, signo): boolean; throws
Napi::Value signalCall(const Info& info) {
  Args in(info);
  int pid = in.integer(0);
  auto ticks = in.count(1);
  int signo = in.integer(2);
  if (in.bad()) return info.Env().Undefined();
  Result<bool> sent = signalProcess(pid, ticks, signo);
  return sent.ok() ? Napi::Boolean::New(info.Env(), sent.value) : throwFailure(info.Env(), sent.failure);
}

// tryLock(path): descriptor, or -1 where another process has it; throws
Napi::Value tryLockCall(const Info& info) {
  Args in(info);
  std::string path = in.text(0);
  if (in.bad()) return info.Env().Undefined();
  Result<UniqueFd> lock = tryLock(path);
  return lock.ok() ? Napi::Number::New(info.Env(), lock.value.release()) : throwFailure(info.Env(), lock.failure);
}

// peerCredentials(descriptor): [pid, uid, gid, groups]; throws
Napi::Value peerCall(const Info& info) {
  Args in(info);
  int fd = in.integer(0);
  if (in.bad()) return info.Env().Undefined();
  Result<Credentials> peer = peerCredentials(fd);
  if (!peer.ok()) return throwFailure(info.Env(), peer.failure);
  Napi::Array groups = Napi::Array::New(info.Env(), peer.value.groups.size());
  for (uint32_t at = 0; at < peer.value.groups.size(); at++) {
    groups.Set(at, Napi::Number::New(info.Env(), peer.value.groups[at]));
  }
  Napi::Array result = Napi::Array::New(info.Env(), 4);
  result.Set(3u, groups);
  result.Set(0u, Napi::Number::New(info.Env(), peer.value.pid));
  result.Set(1u, Napi::Number::New(info.Env(), peer.value.uid));
  result.Set(2u, Napi::Number::New(info.Env(), peer.value.gid));
  return result;
}

// raiseDescriptorLimit(): [soft, hard]; throws
Napi::Value raiseCall(const Info& info) {
  Result<DescriptorLimit> limit = raiseDescriptorLimit();
  if (!limit.ok()) return throwFailure(info.Env(), limit.failure);
  Napi::Array result = Napi::Array::New(info.Env(), 2);
  result.Set(0u, Napi::Number::New(info.Env(), static_cast<double>(limit.value.soft)));
  result.Set(1u, Napi::Number::New(info.Env(), static_cast<double>(limit.value.hard)));
  return result;
}

// errnoName(errno): "EADDRINUSE"
Napi::Value errnoNameCall(const Info& info) {
  Args in(info);
  int error = in.integer(0);
  if (in.bad()) return info.Env().Undefined();
  return Napi::String::New(info.Env(), errnoName(error));
}

}  // namespace

void defineProcess(Napi::Env env, Napi::Object exports) {
  struct Call {
    const char* name;
    Napi::Value (*function)(const Info&);
  };
  constexpr Call calls[] = {
      {"holders", holders},
      {"socketsOf", socketsOfCall},
      {"processesNamed", processesNamedCall},
      {"duplicate", duplicateCall},
      {"share", shareCall},
      {"getsocks", getsocksCall},
      {"bindUnix", bindUnixCall},
      {"serveSockets", serveSockets},
      {"serverServed", serverServed},
      {"stopServer", stopServer},
      {"closeDescriptors", closeDescriptors},
      {"readSysctl", readSysctlCall},
      {"writeSysctl", writeSysctlCall},
      {"syncFileSystem", syncCall},
      {"releaseMemory", releaseCall},
      {"signalProcess", signalCall},
      {"tryLock", tryLockCall},
      {"peerCredentials", peerCall},
      {"raiseDescriptorLimit", raiseCall},
      {"errnoName", errnoNameCall},
  };
  for (const Call& call : calls) exports.Set(call.name, Napi::Function::New(env, call.function, call.name));
}

}  // namespace berth

// Calls that work on sockets of one network namespace, off the event loop.
#include "bridge.h"

namespace berth {

namespace {

struct Opened : Completion {
  using Completion::Completion;
  void settle(Napi::Env env) override {
    if (inode->ok()) {
      Napi::Array pair = Napi::Array::New(env, 2);
      pair.Set(0u, Napi::Number::New(env, id));
      pair.Set(1u, Napi::Number::New(env, static_cast<double>(inode->value)));
      resolve(env, pair);
    } else {
      Instance::of(env)->namespaces.erase(id);
      reject(env, inode->failure);
    }
  }
  uint32_t id = 0;
  std::unique_ptr<Result<uint64_t>> inode;
};

// openNamespace(path | null): Promise<[id, inode]>
Napi::Value openNamespace(const Info& info) {
  Args in(info);
  std::string path = in.missing(0) ? "" : in.text(0);
  if (in.bad()) return info.Env().Undefined();
  Instance* instance = Instance::of(info.Env());
  auto opening = std::make_unique<Opened>(info.Env());
  Napi::Value promise = opening->promise;
  if (promise.IsEmpty()) return promise;
  Opened* opened = opening.release();
  opened->id = instance->nextId++;
  instance->begin(info.Env());
  uint32_t id = opened->id;
  instance->namespaces[id] = std::make_unique<NamespaceThread>(path, [instance, opened](Result<uint64_t> inode) {
    opened->inode = std::make_unique<Result<uint64_t>>(std::move(inode));
    instance->finish(opened);
  });
  return promise;
}

// closeNamespace(id): Promise<void>, after all jobs before it
Napi::Value closeNamespace(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  if (in.bad()) return info.Env().Undefined();
  Instance* instance = Instance::of(info.Env());
  return instance->run<Done>(
      info.Env(), id, [](int) -> Result<Done> { return Done{}; },
      [instance, id](Napi::Env env, Done&) {
        instance->namespaces.erase(id);
        return env.Undefined();
      });
}

struct ProbeAnswers {
  std::vector<int> words;  // outcome, descriptor, errno, index of the system call
  std::vector<std::string> syscalls;
};

Result<ProbeAnswers> probeAll(const std::vector<std::string>& addresses, const std::vector<std::string>& devices,
                              const std::vector<uint32_t>& packed, const ProbeOptions& options) {
  ProbeAnswers answers;
  answers.words.reserve(packed.size() / 3 * 4);
  if (options.keep) growDescriptorTable(packed.size() / 3);
  for (size_t i = 0; i + 2 < packed.size(); i += 3) {
    Endpoint endpoint;
    endpoint.port = static_cast<uint16_t>(packed[i + 2]);
    endpoint.udp = packed[i + 2] >> 16 & 1;
    endpoint.v6 = packed[i + 2] >> 17 & 1;
    endpoint.v6only = packed[i + 2] >> 18 & 1;
    endpoint.transparent = packed[i + 2] >> 19 & 1;
    if (packed[i + 1] > 0 && packed[i + 1] <= devices.size()) endpoint.device = devices[packed[i + 1] - 1];
    bool known = packed[i] < addresses.size() && parseAddress(addresses[packed[i]], &endpoint);
    ProbeResult result = known ? probe(endpoint, options) : ProbeResult{Outcome::failed, -1, {EINVAL, "inet_pton"}};
    size_t name = 0;
    if (result.failure) {
      while (name < answers.syscalls.size() && answers.syscalls[name] != result.failure.syscall) name++;
      if (name == answers.syscalls.size()) answers.syscalls.push_back(result.failure.syscall);
    }
    answers.words.insert(answers.words.end(),
                         {static_cast<int>(result.outcome), result.fd, result.failure.error, static_cast<int>(name)});
  }
  return answers;
}

// probe(id, addresses, devices, packed, keep, asHAProxy): Promise<{ words, syscalls }>
Napi::Value probeCall(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  auto addresses = in.texts(1);
  auto devices = in.texts(2);
  auto packed = in.elements<uint32_t>(3, napi_uint32_array);
  ProbeOptions options{in.flag(4), in.flag(5)};
  if (in.bad()) return info.Env().Undefined();
  return Instance::of(info.Env())
      ->run<ProbeAnswers>(
          info.Env(), id,
          [addresses = std::move(addresses), devices = std::move(devices), packed = std::move(packed), options](int) {
            return probeAll(addresses, devices, packed, options);
          },
          [](Napi::Env env, ProbeAnswers& answers) -> Napi::Value {
            Napi::Object result = Napi::Object::New(env);
            Napi::Array names = Napi::Array::New(env, answers.syscalls.size());
            for (uint32_t i = 0; i < answers.syscalls.size(); i++) names.Set(i, answers.syscalls[i]);
            result.Set("words", toInt32Array(env, answers.words));
            result.Set("syscalls", names);
            return result;
          });
}

// sockets(id, udp, states, ports | null, source): Promise<{ rows, devices, fromProc }>
Napi::Value socketsCall(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  SocketQuery query;
  query.udp = in.flag(1);
  query.states = in.word(2);
  query.byPort = !in.missing(3);
  if (query.byPort) query.ports = in.elements<uint16_t>(3, napi_uint16_array);
  query.source = static_cast<TableSource>(in.integer(4));
  if (in.bad()) return info.Env().Undefined();
  return Instance::of(info.Env())
      ->run<SocketTable>(
          info.Env(), id, [query = std::move(query)](int) { return readSockets(query); },
          [](Napi::Env env, SocketTable& table) -> Napi::Value { return toTable(env, std::move(table)); });
}

// unixListeners(id): Promise<(inode | abstract | path)[]>
Napi::Value unixListenersCall(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  if (in.bad()) return info.Env().Undefined();
  return Instance::of(info.Env())
      ->run<std::vector<UnixListener>>(
          info.Env(), id, [](int) { return unixListeners(); },
          [](Napi::Env env, std::vector<UnixListener>& listeners) -> Napi::Value {
            Napi::Array result = Napi::Array::New(env, listeners.size() * 3);
            for (uint32_t i = 0; i < listeners.size(); i++) {
              result.Set(3 * i, Napi::Number::New(env, listeners[i].inode));
              result.Set(3 * i + 1, Napi::Boolean::New(env, listeners[i].abstract));
              result.Set(3 * i + 2, Napi::String::New(env, listeners[i].path));
            }
            return result;
          });
}

// destroySocket(id, udp, v6, local, localPort, remote, remotePort, device, cookie): Promise<void>
Napi::Value destroyCall(const Info& info) {
  Args in(info);
  auto id = in.word(0);
  Endpoint local, remote;
  local.udp = in.flag(1);
  local.v6 = remote.v6 = in.flag(2);
  std::string localAddress = in.text(3), remoteAddress = in.text(5);
  local.port = in.port(4);
  remote.port = in.port(6);
  local.device = in.text(7);
  uint64_t cookie = std::strtoull(in.text(8).c_str(), nullptr, 10);
  if (in.bad()) return info.Env().Undefined();
  bool known = parseAddress(localAddress, &local) && parseAddress(remoteAddress, &remote);
  return runPlain(info, id,
                  [=] { return known ? destroySocket(local, remote, cookie) : Failure{EINVAL, "SOCK_DESTROY"}; });
}

}  // namespace

Napi::Object toTable(Napi::Env env, SocketTable&& table) {
  Napi::Object result = Napi::Object::New(env);
  Napi::Array devices = Napi::Array::New(env, table.devices.size() * 2);
  for (uint32_t i = 0; i < table.devices.size(); i++) {
    devices.Set(2 * i, Napi::Number::New(env, table.devices[i].first));
    devices.Set(2 * i + 1, Napi::String::New(env, table.devices[i].second));
  }
  // 100k rows are 8 MB: they are handed over, not copied.
  auto* rows = new std::vector<SocketRow>(std::move(table.rows));
  size_t bytes = rows->size() * sizeof(SocketRow);
  if (bytes == 0) {
    delete rows;
    result.Set("rows", Napi::ArrayBuffer::New(env, 0));
  } else {
    result.Set("rows", Napi::ArrayBuffer::New(
                           env, rows->data(), bytes,
                           [](Napi::Env, void*, std::vector<SocketRow>* owned) { delete owned; }, rows));
  }
  result.Set("devices", devices);
  result.Set("fromProc", Napi::Boolean::New(env, table.fromProc));
  return result;
}

void defineNetwork(Napi::Env env, Napi::Object exports) {
  exports.Set("openNamespace", Napi::Function::New(env, openNamespace));
  exports.Set("closeNamespace", Napi::Function::New(env, closeNamespace));
  exports.Set("probe", Napi::Function::New(env, probeCall));
  exports.Set("sockets", Napi::Function::New(env, socketsCall));
  exports.Set("unixListeners", Napi::Function::New(env, unixListenersCall));
  exports.Set("destroySocket", Napi::Function::New(env, destroyCall));
}

}  // namespace berth

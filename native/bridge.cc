#include "bridge.h"

namespace berth {

const char* errnoName(int error) {
  struct Name {
    int error;
    const char* text;
  };
#define NAME(E) \
  {             \
    E, #E       \
  }
  static constexpr Name names[] = {
      NAME(EPERM),        NAME(ENOENT),          NAME(ESRCH),           NAME(EINTR),       NAME(EIO),
      NAME(ENXIO),        NAME(E2BIG),           NAME(EBADF),           NAME(ECHILD),      NAME(EAGAIN),
      NAME(ENOMEM),       NAME(EACCES),          NAME(EFAULT),          NAME(EBUSY),       NAME(EEXIST),
      NAME(EXDEV),        NAME(ENODEV),          NAME(ENOTDIR),         NAME(EISDIR),      NAME(EINVAL),
      NAME(ENFILE),       NAME(EMFILE),          NAME(EFBIG),           NAME(ENOSPC),      NAME(EROFS),
      NAME(EPIPE),        NAME(ERANGE),          NAME(ENAMETOOLONG),    NAME(ENOSYS),      NAME(ELOOP),
      NAME(EPROTO),       NAME(ENOTSOCK),        NAME(EDESTADDRREQ),    NAME(EMSGSIZE),    NAME(EPROTOTYPE),
      NAME(ENOPROTOOPT),  NAME(EPROTONOSUPPORT), NAME(ESOCKTNOSUPPORT), NAME(EOPNOTSUPP),  NAME(EAFNOSUPPORT),
      NAME(EADDRINUSE),   NAME(EADDRNOTAVAIL),   NAME(ENETDOWN),        NAME(ENETUNREACH), NAME(ECONNABORTED),
      NAME(ECONNRESET),   NAME(ENOBUFS),         NAME(EISCONN),         NAME(ENOTCONN),    NAME(ETIMEDOUT),
      NAME(ECONNREFUSED), NAME(EHOSTUNREACH),    NAME(EALREADY),        NAME(EINPROGRESS), NAME(ESTALE),
      NAME(EDQUOT),       NAME(ECANCELED),       NAME(EUSERS),          NAME(EOVERFLOW)};
#undef NAME
  for (const Name& name : names) {
    if (name.error == error) return name.text;
  }
  return "EUNKNOWN";
}

Napi::Error toError(Napi::Env env, const Failure& failure) {
  std::string message =
      std::string(failure.syscall) + ": " + errnoName(failure.error) + ", " + std::strerror(failure.error);
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("errno", Napi::Number::New(env, failure.error));
  error.Set("code", Napi::String::New(env, errnoName(failure.error)));
  error.Set("syscall", Napi::String::New(env, failure.syscall));
  return error;
}

Instance::Instance(Napi::Env env) {
  channel_ = Channel::New(env, "berth", 0, 1, this);
  channel_.Unref(env);
  // Registered after the channel, so that it runs before the channel closes: no thread outlives its way back.
  env.AddCleanupHook([this] { shutdown(); });
}

void Instance::begin(Napi::Env env) {
  if (underWay_++ == 0) channel_.Ref(env);
}

void Instance::finish(Completion* completion) {
  if (channel_.NonBlockingCall(completion) != napi_ok) delete completion;
}

// A null env: the environment ends, nobody waits for the promise any more.
void Instance::deliver(Napi::Env env, Napi::Function, Instance* instance, Completion* completion) {
  std::unique_ptr<Completion> owned(completion);
  if (static_cast<napi_env>(env) == nullptr) return;
  if (owned->awaited && --instance->underWay_ == 0) instance->channel_.Unref(env);
  Napi::HandleScope scope(env);
  owned->settle(env);
}

void Instance::shutdown() {
  exits.reset();
  servers.clear();
  namespaces.clear();
}

}  // namespace berth

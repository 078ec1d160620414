/** Test binds that failed with another errno than EADDRINUSE: what it means, and what would help. */
import type { InetEndpoint } from '../model/endpoint.js';
import type { Verdict } from '../model/verdict.js';
import type { Failure, Kernel } from './env.js';

/** ip(7), ipv6(7), socket(7), bind(2). */
export async function failureVerdict(
  kernel: Pick<Kernel, 'sysctl'>,
  endpoint: InetEndpoint,
  failure: Failure = { errno: 'EIO', syscall: 'bind' },
): Promise<Verdict> {
  const { errno, syscall } = failure;
  if (errno === 'EACCES' || errno === 'EPERM') {
    return { kind: 'forbidden', errno, need: await needOf(kernel, endpoint, syscall) };
  }
  if (errno === 'EADDRNOTAVAIL') {
    const name = endpoint.family === 4 ? 'net.ipv4.ip_nonlocal_bind' : 'net.ipv6.ip_nonlocal_bind';
    return { kind: 'not-local', nonlocalBind: (await kernel.sysctl(name)) === '1' };
  }
  return { kind: 'unusable', errno, syscall, why: reasonOf(errno, endpoint) };
}

async function needOf(kernel: Pick<Kernel, 'sysctl'>, endpoint: InetEndpoint, syscall: string): Promise<string> {
  const unprivileged = Number((await kernel.sysctl('net.ipv4.ip_unprivileged_port_start')) ?? 1024);
  if (syscall === 'bind' && endpoint.port < unprivileged) {
    return `CAP_NET_BIND_SERVICE: port ${endpoint.port} is below net.ipv4.ip_unprivileged_port_start = ${unprivileged}`;
  }
  if (syscall === 'setsockopt' && endpoint.transparent) return 'CAP_NET_ADMIN, or CAP_NET_RAW: the bind is transparent';
  if (syscall === 'setsockopt' && endpoint.device !== undefined) {
    return `CAP_NET_RAW: the bind is tied to the device ${endpoint.device}`;
  }
  return 'a rule of a security module (SELinux, AppArmor, seccomp, a BPF program of the cgroup) that allows it';
}

function reasonOf(errno: string, endpoint: InetEndpoint): string {
  switch (errno) {
    case 'EMFILE':
      return 'this process has no file descriptor left';
    case 'ENFILE':
      return 'the system has no file descriptor left';
    case 'ENOBUFS':
    case 'ENOMEM':
      return 'the kernel has no memory left for a socket';
    case 'ENODEV':
      return `there is no network device ${endpoint.device ?? ''}`.trim();
    case 'EAFNOSUPPORT':
      return `this kernel, or this container, has no IPv${endpoint.family}`;
    case 'EINVAL':
      return endpoint.address.startsWith('fe80') && endpoint.device === undefined
        ? 'a link-local address needs an interface'
        : 'the kernel does not take this address';
    default:
      return 'the kernel refuses the socket';
  }
}

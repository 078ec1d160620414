/**
 * What a real HAProxy listens on, by a configuration, in a network and mount namespace of its own: nothing of this host is
 * bound, replaced or logged to. `haproxy -D` returns when all is bound; the kernel's tables are read then.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { HAProxyVersion } from '../../src/haproxy/config.js';
import type { Bind } from '../../src/model/bind.js';
import { haproxyBinaries } from './haproxy.js';

export interface Binary {
  readonly path: string;
  readonly version: HAProxyVersion;
  readonly features: readonly string[];
}

/** Those of BERTH_HAPROXY_BINARIES (separated by colons), else all that {@link haproxyBinaries} finds. */
export function binaries(): Binary[] {
  const named = (process.env['BERTH_HAPROXY_BINARIES'] ?? '').split(':').filter((path) => path !== '');
  const paths = named.length > 0 ? named : haproxyBinaries().map(({ path }) => path);
  return paths.map((path) => {
    const text = execFileSync(path, ['-vv'], { encoding: 'utf8' });
    const version = /version (\S+)/.exec(text)?.[1] ?? '';
    const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(version) ?? [];
    const list = /^Feature list : (.*)$/m.exec(text)?.[1] ?? '';
    return {
      path,
      version: { major: Number(major), minor: Number(minor), text: version },
      features: [...list.matchAll(/\+(\S+)/g)].map((match) => match[1] ?? ''),
    };
  });
}

export interface Listening {
  /** HAProxy started and bound everything. */
  readonly accepted: boolean;
  readonly output: string;
  /** One text a socket, as {@link describeBind} writes them, sorted. */
  readonly sockets: readonly string[];
}

export interface Start {
  readonly directory: string;
  /** HAProxy's `-C`, absolute; else the directory. */
  readonly workingDirectory?: string;
  /** Arguments behind `-D -p …`. */
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Shell lines that prepare the namespace. */
  readonly setup?: string;
}

const SCRIPT = `
set -e
mount -t tmpfs none /run; mkdir -p /run/netns
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind
echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind
eval "$SETUP"
cd "$DIRECTORY"
rc=0; "$BINARY" -D -p "$PIDFILE" "$@" </dev/null >"$PIDFILE.out" 2>&1 || rc=$?
echo "== rc $rc"
if [ "$rc" = 0 ]; then
  echo "== sockets"; ss -Hlntue
  for ns in $(ip netns list | cut -d' ' -f1); do echo "== netns $ns"; ip netns exec "$ns" ss -Hlntue; done
  echo "== unix"; cat /proc/self/net/unix
  kill -9 $(cat "$PIDFILE")
fi
echo "== output"; cat "$PIDFILE.out"
`;

export function listen(binary: string, start: Start): Listening {
  const scratch = mkdtempSync(join(tmpdir(), 'berth-listen-'));
  try {
    const pidfile = join(scratch, 'pid');
    const run = spawnSync('unshare', ['-n', '-m', 'sh', '-c', SCRIPT, 'sh', ...start.arguments], {
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
      env: {
        PATH: process.env['PATH'] ?? '',
        ...start.environment,
        SETUP: start.setup ?? 'true',
        DIRECTORY: start.directory,
        BINARY: binary.startsWith('/') ? binary : join(process.cwd(), binary),
        PIDFILE: pidfile,
      },
    });
    const parts = new Map<string, string[]>();
    let part: string[] = [];
    for (const line of run.stdout.split('\n')) {
      if (line.startsWith('== ')) parts.set(line.slice(3), (part = []));
      else if (line !== '') part.push(line);
    }
    const accepted = parts.has('rc 0');
    const output = [...(parts.get('output') ?? [`the harness failed: ${run.stderr}`])].join('\n');
    if (!parts.has('output')) throw new Error(output);
    const sockets: string[] = [];
    for (const [name, lines] of parts) {
      const namespace = name.startsWith('netns ') ? name.slice(6) : undefined;
      if (name === 'sockets' || namespace !== undefined) {
        for (const line of lines) sockets.push(describeRow(line, namespace));
      } else if (name === 'unix') {
        sockets.push(...lines.flatMap((line) => describeUnix(line, start.workingDirectory ?? start.directory)));
      }
    }
    return { accepted, output, sockets: sockets.sort() };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** `tcp LISTEN 0 128 127.0.0.1%lo:80 0.0.0.0:* ino:… v6only:1 …` */
function describeRow(row: string, namespace: string | undefined): string {
  const [transport = '', , , , local = ''] = row.split(/\s+/);
  const colon = local.lastIndexOf(':');
  const [host = '', device] = local
    .slice(0, colon)
    .replace(/^\[|\]/g, '')
    .split('%');
  const address = host === '*' ? '::' : host;
  const v6only = /v6only:1/.test(row) && address === '::';
  return describeSocket(transport, address, Number(local.slice(colon + 1)), v6only, device, namespace);
}

/** One socket as a text. */
export function describeSocket(
  transport: string,
  address: string,
  port: number,
  v6only: boolean,
  device: string | undefined,
  namespace: string | undefined,
): string {
  const extras = [v6only ? 'v6only' : '', device ? `%${device}` : '', namespace ? `netns ${namespace}` : ''];
  return [`${transport} [${address}]:${port}`, ...extras].filter((extra) => extra !== '').join(' ');
}

/** Listening unix sockets; HAProxy binds paths as `P.PID.tmp` and renames, abstract names are padded with NULs. */
function describeUnix(row: string, workingDirectory: string): string[] {
  const [, , , flags, , state, , path] = row.trim().split(/\s+/);
  if (flags !== '00010000' || state !== '01' || path === undefined) return [];
  if (path.startsWith('@')) return [`unix @${path.slice(1).replace(/@+$/, '')}`];
  return [`unix ${resolve(workingDirectory, path.replace(/\.\d+\.tmp$/, ''))}`];
}

/** The same text for a bind that Berth has read. The kernel shows v6only on each specific IPv6 address: told of `::` only. */
export function describeBind(bind: Bind): string[] {
  const { endpoint } = bind;
  if (endpoint.kind === 'unix') {
    return Array.from({ length: bind.sockets }, () => `unix ${endpoint.abstract ? '@' : ''}${endpoint.path}`);
  }
  const { transport, address, port, v6only, device, namespace } = endpoint;
  const text = describeSocket(transport, address, port, v6only && address === '::', device, namespace);
  return Array.from({ length: bind.sockets }, () => text);
}

/** Write files below a directory of their own; the caller removes it. */
export function writeFiles(files: Readonly<Record<string, string>>): string {
  const directory = mkdtempSync(join(tmpdir(), 'berth-config-'));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), text, 'latin1');
  }
  return directory;
}

/** A new certificate with its key in one file, in a directory of its own; the caller removes both. */
export function selfSigned(): string {
  const file = join(mkdtempSync(join(tmpdir(), 'berth-cert-')), 'site.pem');
  const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=berth.test'];
  execFileSync('openssl', [...request, '-keyout', file, '-out', `${file}.crt`], { stdio: 'ignore' });
  appendFileSync(file, readFileSync(`${file}.crt`));
  rmSync(`${file}.crt`);
  return file;
}

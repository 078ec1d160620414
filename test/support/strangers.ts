/** Other users of the host, who try things: a process with a uid of theirs, which needs no name. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';

export interface User {
  readonly uid: number;
  readonly gid: number;
}

/** Somebody with an account, and nothing else. */
export const STRANGER: User = { uid: 51_001, gid: 51_001 };
/** A member of the group that may use the API: of {@link GROUP}. */
export const MEMBER: User = { uid: 51_002, gid: 51_009 };
/** `nobody`: what HAProxy runs as in the tests, so what has taken over one of its workers. */
export const WORKER: User = { uid: 65_534, gid: 65_534 };
export const GROUP = String(MEMBER.gid);

/**
 * What `body` returns, run by this user in a process of its own. It sees its argument and `require`, nothing around it.
 * @param netns path of a network namespace to do it in
 */
export async function as<A, T>(
  user: User,
  argument: A,
  body: (argument: A, require: NodeJS.Require) => Promise<T> | T,
  netns?: string,
): Promise<T> {
  const script = `Promise.resolve((${body.toString()})(${JSON.stringify(argument)}, require)).then((result) =>
    process.stdout.write(JSON.stringify(result ?? null), () => process.exit()));`;
  const child = start(user, netns, ['-e', script]);
  const [said, complained] = await Promise.all([text(child.stdout), text(child.stderr)]);
  if (said === '') throw new Error(`uid ${user.uid} could not try it: ${complained}`);
  return JSON.parse(said) as T;
}

/**
 * A process of this user that calls itself haproxy and listens there, `address:port` or a path, answering nothing; its pid.
 * It ends with its namespace, which the lab closes.
 */
export async function pose(user: User, netns: string, listen: readonly string[], words: readonly string[] = []) {
  const script = `process.title = 'haproxy';
    const net = require('node:net');
    let left = ${listen.length};
    const ready = () => (left-- > 0 ? undefined : console.log('ready'));
    for (const place of ${JSON.stringify(listen)}) {
      const [host, port] = place.split(':');
      net.createServer(() => undefined).listen(port === undefined ? { path: place } : { host, port: Number(port) }, ready);
    }
    ready();
    setInterval(() => undefined, 1000);`;
  const child = start(user, netns, ['-e', script, ...words]);
  child.stderr.pipe(process.stderr);
  await once(child.stdout, 'data');
  // setpriv and nsenter exec: the pid is its own.
  return child.pid ?? 0;
}

function start({ uid, gid }: User, netns: string | undefined, words: readonly string[]) {
  const enter: [string, ...string[]] = netns === undefined ? ['env'] : ['nsenter', `--net=${netns}`, '--'];
  const [command, ...rest] = [...enter, 'setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--'];
  return spawn(command, [...rest, process.execPath, ...words], {
    cwd: '/',
    env: { PATH: process.env['PATH'] },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

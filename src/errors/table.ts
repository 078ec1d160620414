/** The one table of error codes; `docs/errors.md` mirrors it, and a test holds the two together. */

export interface ErrorKind {
  /** Exit status of the command. */
  readonly exit: number;
  /** Status of the HTTP answer. */
  readonly http: number;
  /** What the code means, in one line. */
  readonly summary: string;
  /** What to do about it, in one line. */
  readonly advice: string;
}

export const ERROR_TABLE = {
  BERTH_USAGE: {
    exit: 2,
    http: 400,
    summary: 'The command line or the call is wrong',
    advice: 'See berth VERB --help',
  },
  BERTH_SETTINGS: {
    exit: 2,
    http: 400,
    summary: 'A setting is unknown or has a wrong value',
    advice: 'See docs/settings.md',
  },
  BERTH_GENERATION_UNKNOWN: {
    exit: 2,
    http: 404,
    summary: 'There is no such generation',
    advice: 'berth history lists the generations kept',
  },
  BERTH_INSTANCE_UNKNOWN: {
    exit: 2,
    http: 404,
    summary: 'The agent has no such instance',
    advice: 'GET /v1/instances lists them',
  },
  BERTH_API_PATH: {
    exit: 2,
    http: 404,
    summary: 'The API has no such path',
    advice: 'GET /v1/openapi.json lists them',
  },
  BERTH_API_METHOD: {
    exit: 2,
    http: 405,
    summary: 'The API does not have this method on this path',
    advice: 'The header Allow names those that it has',
  },
  BERTH_API_TOO_LARGE: {
    exit: 2,
    http: 413,
    summary: 'The request is larger than the agent reads',
    advice: 'Ask in parts, or raise agent.maxBodyBytes',
  },
  BERTH_API_KEY: {
    exit: 2,
    http: 422,
    summary: 'The idempotency key was used for something else',
    advice: 'Take a new key for a new demand',
  },
  BERTH_UNSERVABLE: {
    exit: 3,
    http: 409,
    summary: 'At least one listener cannot be served as things are',
    advice: 'berth preflight names the holder of each port',
  },
  BERTH_RESERVE_LIMIT: {
    exit: 3,
    http: 409,
    summary: 'Reserving these ports would take too large a share of the ephemeral range',
    advice: 'Move net.ipv4.ip_local_port_range or the listeners, or raise reserve.maxShare',
  },
  BERTH_CONFIG_UNREADABLE: {
    exit: 4,
    http: 422,
    summary: 'The configuration cannot be read',
    advice: 'Check that the path exists, is a file or a directory with *.cfg files, and is text',
  },
  BERTH_CONFIG_EMPTY: {
    exit: 4,
    http: 422,
    summary: 'The configuration holds no section',
    advice: 'Give the file or the directory that HAProxy is started with',
  },
  BERTH_CONFIG_TOO_LARGE: {
    exit: 4,
    http: 422,
    summary: 'The configuration is larger than Berth reads',
    advice: 'Raise config.maxBytes if the file is really meant',
  },
  BERTH_CONFIG_SYNTAX: {
    exit: 4,
    http: 422,
    summary: 'A line of the configuration cannot be understood',
    advice: 'Correct the line that the message names',
  },
  BERTH_CONFIG_CONFLICT: {
    exit: 4,
    http: 422,
    summary: 'Two binds of the configuration exclude each other',
    advice: 'Remove or move one of the two binds that the message names',
  },
  BERTH_CONFIG_REFUSED: {
    exit: 4,
    http: 422,
    summary: 'haproxy -c refuses the configuration',
    advice: 'Correct the lines that HAProxy names',
  },
  BERTH_PERMISSION: {
    exit: 5,
    http: 403,
    summary: 'A privilege is missing',
    advice: 'docs/operations.md says which capability is needed for what',
  },
  BERTH_HAPROXY_MISSING: {
    exit: 6,
    http: 503,
    summary: 'The haproxy binary is missing or cannot be run',
    advice: 'Install HAProxy, or name the binary with --haproxy',
  },
  BERTH_HAPROXY_UNSUITABLE: {
    exit: 6,
    http: 503,
    summary: 'This HAProxy, or the way it runs, cannot be reloaded safely',
    advice: 'The message names the option that stands in the way',
  },
  BERTH_HAPROXY_NOT_FOUND: {
    exit: 6,
    http: 409,
    summary: 'The running HAProxy that was named does not exist or is another program',
    advice: 'Correct --pid-file or --master-socket',
  },
  BERTH_HAPROXY_SOCKET: {
    exit: 6,
    http: 502,
    summary: 'A socket of HAProxy does not answer as HAProxy does',
    advice: 'Check whose socket it is; Berth has sent it nothing that changes anything',
  },
  BERTH_LOCKED: {
    exit: 7,
    http: 423,
    summary: 'Another Berth works on this state directory',
    advice: 'Wait for it, or give --wait',
  },
  BERTH_RELOAD_FAILED: {
    exit: 8,
    http: 500,
    summary: 'The new HAProxy did not come up; the one before goes on serving',
    advice: 'The message holds what HAProxy said',
  },
  BERTH_VERIFY_FAILED: {
    exit: 8,
    http: 500,
    summary: 'The kernel does not show every listener served by the new HAProxy; the one before goes on serving',
    advice: 'The message names the listeners',
  },
  BERTH_HANDOFF: {
    exit: 8,
    http: 500,
    summary: 'The listening sockets could not be handed over; the HAProxy before goes on serving',
    advice: 'The message names the step',
  },
  BERTH_STATE_DIR: {
    exit: 9,
    http: 500,
    summary: 'The state directory cannot be used',
    advice: 'It must be a directory of its own, owned by root, not a symlink, not writable by others',
  },
  BERTH_STATE_WRITE: {
    exit: 9,
    http: 507,
    summary: 'The state cannot be written',
    advice: 'Make room or make the file system writable; nothing was changed',
  },
  BERTH_JOURNAL: {
    exit: 9,
    http: 500,
    summary: 'The journal cannot be understood',
    advice: 'docs/operations.md, section Recovery',
  },
  BERTH_TIMEOUT: {
    exit: 10,
    http: 504,
    summary: 'Something took longer than its limit',
    advice: 'The message names what was waited for',
  },
  BERTH_KERNEL: {
    exit: 11,
    http: 500,
    summary: 'A system call failed in a way that Berth has no answer for',
    advice: 'The cause holds the system call and its errno',
  },
  BERTH_NO_DESCRIPTORS: {
    exit: 11,
    http: 503,
    summary: 'The process or the system has no file descriptor left',
    advice: 'Raise LimitNOFILE (ulimit -n)',
  },
  BERTH_ADDON: {
    exit: 12,
    http: 500,
    summary: 'The native addon cannot be loaded',
    advice: 'Run npm rebuild; it needs a C++17 compiler and Python',
  },
  BERTH_AGENT: {
    exit: 13,
    http: 502,
    summary: 'The agent broke off, or does not answer as an agent does',
    advice: 'berth status --no-agent looks without it',
  },
  BERTH_INTERNAL: {
    exit: 70,
    http: 500,
    summary: 'A defect of Berth',
    advice: 'Please report it with the output of --json',
  },
  BERTH_INTERRUPTED: {
    exit: 130,
    http: 499,
    summary: 'Interrupted; what was not yet handed over was undone',
    advice: 'Run the command again',
  },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERROR_TABLE;

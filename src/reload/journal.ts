/**
 * The journal: what a reload was about to do and what it had done, so that the run after a crash can tell.
 * A file of lines, `CHECKSUM JSON\n`, the checksum being the first 16 hex digits of the JSON's SHA-256. A record counts
 * from the moment that fdatasync(2) returned; what a crash leaves half written at the end is dropped.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readFile, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BerthError } from '../errors.js';
import { errnoOf, replaceFile, stateWriteError, syncPath } from './files.js';
import {
  asRecord,
  endsTransaction,
  type BeginEntry,
  type JournalEntry,
  type JournalRecord,
  type RecordKind,
} from './journal-records.js';

export type { BeginEntry, JournalEntry, JournalRecord } from './journal-records.js';

/** What was found behind the last valid record and dropped. */
export interface DroppedTail {
  /** Offset of the first dropped byte. */
  readonly offset: number;
  readonly bytes: number;
  readonly why: string;
}

export interface Replay {
  /** Every valid record, in order. */
  readonly records: readonly JournalRecord[];
  /** Bytes of the file that hold them. */
  readonly length: number;
  readonly dropped?: DroppedTail;
}

export interface JournalOptions {
  /** Called with `before:KIND` and `after:KIND` around each record; tests end the process here. */
  readonly failpoint?: (name: `${'before' | 'after'}:${RecordKind}`) => void;
  readonly now?: () => Date;
}

/** Far above any reload's (a record is some 150 bytes); a longer file is not ours. */
const MAX_BYTES = 64 * 1024 * 1024;

export class Journal {
  #handle: FileHandle | undefined;
  #records: JournalRecord[];
  #length: number;
  #poisoned: unknown;

  private constructor(
    readonly path: string,
    replay: Replay,
    private readonly options: JournalOptions,
  ) {
    this.#records = [...replay.records];
    this.#length = replay.length;
    this.dropped = replay.dropped;
  }

  /** What the last crash left behind the valid records, for the log. */
  readonly dropped: DroppedTail | undefined;

  /**
   * Read the journal; a file that does not exist is an empty one. Writes nothing. The caller holds the state lock if it
   * is going to write. Throws BERTH_JOURNAL where valid records follow a damaged one.
   */
  static async open(path: string, options: JournalOptions = {}): Promise<Journal> {
    return new Journal(path, replay(await read(path), path), options);
  }

  /** The records of the transaction that did not end, `begin` first; empty where the last one ended. */
  get unfinished(): readonly JournalRecord[] {
    const last = this.#records.at(-1);
    if (last === undefined || endsTransaction(last.kind)) return [];
    const begin = this.#records.findLastIndex((record) => record.kind === 'begin');
    return this.#records.slice(Math.max(begin, 0));
  }

  /** Every valid record since the last compaction. */
  get records(): readonly JournalRecord[] {
    return this.#records;
  }

  /**
   * Open a transaction. The journal is replaced by one that holds this record alone (rename(2)), so that it stays small.
   * Throws BERTH_JOURNAL where the last transaction did not end: it is to be recovered first.
   */
  async begin(entry: BeginEntry): Promise<void> {
    if (this.unfinished.length > 0) {
      throw new BerthError('BERTH_JOURNAL', `${this.path} holds a transaction that did not end; recover it first`, {
        step: 'journal',
      });
    }
    this.options.failpoint?.('before:begin');
    await this.close();
    const record = this.#stamp(entry, 1);
    const line = encode(record);
    try {
      await replaceFile(this.path, line);
    } catch (error) {
      await this.#readAgain(error);
      throw stateWriteError(error, 'begin a journal', this.path);
    }
    this.#records = [record];
    this.#length = Buffer.byteLength(line);
    this.options.failpoint?.('after:begin');
  }

  /**
   * Append records: one write(2) and one fdatasync(2) for all of them, in order. When it has returned they are durable;
   * when it throws BERTH_STATE_WRITE none of them counts.
   */
  async append(...entries: readonly Exclude<JournalEntry, BeginEntry>[]): Promise<void> {
    if (this.#poisoned !== undefined) throw stateWriteError(this.#poisoned, 'append to the journal', this.path);
    for (const { kind } of entries) this.options.failpoint?.(`before:${kind}`);
    const records = entries.map((entry, index) => this.#stamp(entry, this.#records.length + 1 + index));
    const lines = Buffer.from(records.map(encode).join(''));
    try {
      this.#handle ??= await this.#openForAppend();
      await writeWhole(this.#handle, lines, this.#length);
      await this.#handle.datasync();
    } catch (error) {
      await this.#takeBack(error);
      throw stateWriteError(error, `append "${entries.map(({ kind }) => kind).join(', ')}" to the journal`, this.path);
    }
    this.#records.push(...records);
    this.#length += lines.length;
    for (const { kind } of entries) this.options.failpoint?.(`after:${kind}`);
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }

  #stamp(entry: JournalEntry, n: number): JournalRecord {
    return { ...entry, n, time: (this.options.now?.() ?? new Date()).toISOString() };
  }

  /** Cuts off the torn tail that a crash left, so that what is appended stands behind a whole record. */
  async #openForAppend(): Promise<FileHandle> {
    const handle = await open(this.path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    try {
      await handle.truncate(this.#length);
      if (this.#length === 0) await syncPath(dirname(this.path));
    } catch (error) {
      await handle.close();
      throw error;
    }
    return handle;
  }

  /** Which of the two files stands there is not known where only the flush of the directory failed. */
  async #readAgain(error: unknown): Promise<void> {
    try {
      const { records, length } = replay(await read(this.path), this.path);
      this.#records = [...records];
      this.#length = length;
    } catch {
      this.#poisoned = error;
    }
  }

  /**
   * A record that could not be made durable must not show up at the next start. After a failed fsync(2) the kernel may
   * have dropped the pages and call the next one clean, so nothing more is appended through this object.
   */
  async #takeBack(error: unknown): Promise<void> {
    try {
      await this.#handle?.truncate(this.#length);
      if (errnoOf(error) === 'EIO') this.#poisoned = error;
    } catch {
      this.#poisoned = error;
    }
  }
}

/**
 * Read the records of a journal's bytes. Reading stops at the first line that is not a whole, valid record: what follows
 * is dropped and told, unless a valid record follows it, which no crash leaves behind: BERTH_JOURNAL.
 */
export function replay(bytes: Buffer, path: string): Replay {
  const records: JournalRecord[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const end = bytes.indexOf(10, offset);
    const record = end < 0 ? undefined : decode(bytes.subarray(offset, end));
    if (record?.n !== records.length + 1) break;
    records.push(record);
    offset = end + 1;
  }
  if (offset === bytes.length) return { records, length: offset };
  refuseRecordsAfter(bytes, offset, records.length, path);
  const bytesDropped = bytes.length - offset;
  const why = bytes.includes(10, offset)
    ? 'a record whose checksum is wrong'
    : 'a record that was not written to its end';
  return { records, length: offset, dropped: { offset, bytes: bytesDropped, why } };
}

function refuseRecordsAfter(bytes: Buffer, damaged: number, valid: number, path: string): void {
  for (let start = damaged; start < bytes.length;) {
    const end = bytes.indexOf(10, start);
    if (end < 0) return;
    const record = decode(bytes.subarray(start, end));
    if (record !== undefined) {
      throw new BerthError(
        'BERTH_JOURNAL',
        `${path} is damaged at byte ${damaged}: ${valid} valid records stand before it, and record ${record.n} ("${record.kind}") after it`,
        {
          step: 'journal',
          advice: 'See what HAProxy serves (berth status), then move the journal away; docs/operations.md, Recovery',
          details: { path, offset: damaged, before: valid, after: record },
        },
      );
    }
    start = end + 1;
  }
}

async function read(path: string): Promise<Buffer> {
  try {
    const bytes = await readFile(path);
    if (bytes.length <= MAX_BYTES) return bytes;
    throw new BerthError('BERTH_JOURNAL', `${path} has ${bytes.length} bytes and is no journal`, { step: 'journal' });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return Buffer.alloc(0);
    if (error instanceof BerthError) throw error;
    throw new BerthError('BERTH_JOURNAL', `Cannot read the journal ${path}`, { step: 'journal', cause: error });
  }
}

async function writeWhole(handle: FileHandle, data: Buffer, at: number): Promise<void> {
  for (let written = 0; written < data.length;) {
    const { bytesWritten } = await handle.write(data, written, data.length - written, at + written);
    written += bytesWritten;
  }
}

const checksum = (json: string | Buffer): string => createHash('sha256').update(json).digest('hex').slice(0, 16);

function encode(record: JournalRecord): string {
  const json = JSON.stringify(record);
  return `${checksum(json)} ${json}\n`;
}

function decode(line: Buffer): JournalRecord | undefined {
  const json = line.subarray(17);
  if (line.length < 18 || line[16] !== 0x20 || line.toString('latin1', 0, 16) !== checksum(json)) return undefined;
  try {
    return asRecord(JSON.parse(json.toString('utf8')));
  } catch {
    return undefined;
  }
}

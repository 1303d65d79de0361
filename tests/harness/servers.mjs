// A PostgreSQL and a NATS server of a test's own, which it may end, freeze and start again.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { until, within } from './until.mjs';

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

const opens = (port) => new Promise((resolve) => {
  const socket = connect(port, '127.0.0.1');
  socket.on('connect', () => resolve(true)).on('error', () => resolve(false)).on('connect', () => socket.destroy());
});

/** The processes that a process has started. */
function children(pid) {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).filter((name) => {
    try {
      return readFileSync(`/proc/${name}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ')[1] === String(pid);
    } catch {
      // It has ended meanwhile.
      return false;
    }
  }).map(Number);
}

export class Server {
  folder = mkdtempSync(join(tmpdir(), 'verbatim-server-'));

  async start() {
    this.port ??= await freePort();
    await this.run();
    await until(() => opens(this.port), { timeout: 30_000, what: `${this.constructor.name} on port ${this.port}` });
    return this;
  }

  /** Sends a signal to the server, all its processes included. */
  signal(name) {
    for (const pid of [this.child.pid, ...children(this.child.pid)]) {
      try {
        process.kill(pid, name);
      } catch (error) {
        if (error.code !== 'ESRCH') throw error;
      }
    }
  }

  async kill() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'exit');
    this.signal('SIGKILL');
    await within(ended, `the end of ${this.constructor.name}`);
  }

  /** Ends it and removes its data. */
  async end() {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class Nats extends Server {
  /** `config`, if given, is a file's text, and `environment` what it refers to. */
  constructor({ config, environment } = {}) {
    super();
    this.config = config;
    this.environment = environment;
  }

  async run() {
    const file = join(this.folder, 'nats.conf');
    if (this.config) writeFileSync(file, this.config);
    const args = ['-a', '127.0.0.1', '-p', String(this.port), ...(this.config ? ['-c', file] : ['-js', '-sd', this.folder])];
    this.child = spawn(process.env.VERBATIM_TEST_NATS_SERVER, args, { stdio: 'ignore', env: { ...process.env, ...this.environment } });
  }

  get url() {
    return `nats://127.0.0.1:${this.port}`;
  }
}

/** PostgreSQL refuses to be run by root. */
const asPostgres = process.getuid() === 0 ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups'] : [];

export class Postgres extends Server {
  #command(program, args) {
    const [command, ...rest] = [...asPostgres, join(process.env.VERBATIM_TEST_POSTGRES_BIN, program), ...args];
    return [command, rest];
  }

  async run() {
    const data = join(this.folder, 'data');
    if (!readdirSync(this.folder).includes('data')) {
      chmodSync(this.folder, 0o777);
      execFileSync(...this.#command('initdb', ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C']), { cwd: '/', stdio: 'ignore' });
    }
    // After a kill its processes may take a moment to be gone, and until then it refuses to start.
    await until(async () => {
      const args = ['-D', data, '-p', String(this.port), '-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories=', '-c', 'max_connections=200'];
      this.child = spawn(...this.#command('postgres', args), { cwd: '/', stdio: 'ignore' });
      const exited = once(this.child, 'exit').then(() => false);
      return Promise.race([exited, until(() => opens(this.port), { timeout: 20_000 })]);
    }, { timeout: 60_000, what: 'PostgreSQL to start' });
  }

  get url() {
    return `postgres://postgres@127.0.0.1:${this.port}/postgres`;
  }
}

/** nginx with a configuration for its `http` block, ending TLS with a certificate of its own. */
export class Nginx extends Server {
  constructor(makeConfig) {
    super();
    this.makeConfig = makeConfig;
  }

  async run() {
    const file = (name) => join(this.folder, name);
    execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', file('tls.key'), '-out', file('tls.crt')], { stdio: 'ignore' });
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${file(kind)};`).join(' ');
    writeFileSync(file('nginx.conf'), `daemon off; pid ${file('pid')}; error_log ${file('error.log')}; worker_processes 1; events {} http { access_log off; ${temporary} ${this.makeConfig(this)} }`);
    this.child = spawn('nginx', ['-p', this.folder, '-c', file('nginx.conf')], { stdio: 'ignore', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } });
  }

  get certificate() {
    return readFileSync(join(this.folder, 'tls.crt'), 'utf8');
  }
}

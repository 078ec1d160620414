/** Texts as HAProxy, the kernel, lbagent, operators and Berth itself write them. */

export const SHOW_PROC_22 = `#<PID>          <type>          <relative PID>  <reloads>       <uptime>        <version>      
45              master          0               2               0d00h00m05s     2.2.9-2+deb11u6
# workers
84              worker          1               0               0d00h00m01s     2.2.9-2+deb11u6
# old workers
75              worker          [was: 1]        1               0d00h00m04s     2.2.9-2+deb11u6
# programs

`;
export const SHOW_PROC_26 = `#<PID>          <type>          <reloads>       <uptime>        <version>
73              master          1 [failed: 1]   0d00h00m06s     2.6.12-1+deb12u4
# workers
75              worker          1               0d00h00m06s     2.6.12-1+deb12u4
# programs

`;
export const ALERTS = `[NOTICE]   (78) : haproxy version is 2.6.12-1+deb12u4
[WARNING]  (78) : config : parsing [one.cfg:13] : 'localpeer' ignored since it is used after 'peers' section.
[ALERT]    (78) : Binding [CONF/zz.cfg:2] for proxy new: cannot bind socket (Address already in use) for [10.9.0.1:30000]
[ALERT] 325/211736 (78) : Starting proxy new: cannot bind socket [:::30000]
[ALERT]    (78) : config : Error(s) found in configuration file : a.cfg
Fatal errors found in configuration.
`;
export const BUILD = `HAProxy version 2.6.12-1+deb12u4 2025/10/04 - https://haproxy.org/
Status: long-term supported branch - will stop receiving fixes around Q2 2027.
Build options :
  OPTIONS = USE_PCRE2=1 USE_PCRE2_JIT=1 USE_OPENSSL=1 USE_LUA=1 USE_QUIC=0
Feature list : +EPOLL -KQUEUE +NETFILTER +PCRE2 -QUIC +OPENSSL
`;
export const SETTINGS = `sources: [/etc/haproxy/haproxy.cfg]
stateDir: /var/lib/berth
haproxy:
  pidFile: /run/haproxy.pid
  binary: haproxy
conflicts:
  wait: { enabled: true, deadlineMs: 2000 }
agent: {logLevel: info, group: root}
`;
export const INSTANCES = `dataPreserveN: &n 4
instances:
  web: {stateDir: /var/lib/berth/web, sources: [/etc/web.cfg], dataPreserveN: *n}
  mail:
    stateDir: /var/lib/berth/mail
    sources:
      - "/etc/mail.cfg"
`;
export const LBAGENT = `# lbagent
base_data_dir = '/opt/cloud/workspace/lbagent'
data_preserve_n = 2
haproxy_bin = "berth-haproxy" # ours
api_lbagent_hb_interval = 60
region = Region0 ; x
`;
export const META = JSON.stringify({
  ...{ number: 7, created: '2026-08-07T14:02:31.000Z', reason: 'reload', sources: ['/etc/haproxy/haproxy.cfg'] },
  ...{ workingDirectory: '/etc/haproxy', haproxyVersion: '2.6.12', state: 'serving', good: true, parent: 6 },
  ...{ goodSince: '2026-08-07T14:02:31.000Z', listeners: 2, quarantined: ['0.0.0.0:80/tcp'], fileCount: 1, bytes: 400 },
  command: { files: ['/var/lib/berth/generations/7/root/a.cfg'], extraArguments: ['-L', 'me'] },
});
export const MANIFEST = JSON.stringify({
  files: ['/etc/haproxy/a.cfg'],
  references: ['/etc/haproxy/x.pem'],
  bundles: [
    { path: '/etc/h/.berth-bundle-1.cfg', directory: '/etc/h', parts: [{ file: '/etc/h/a', firstLine: 1, lines: 9 }] },
  ],
});
export const RECORDS = JSON.stringify([
  { endpoint: '0.0.0.0:80/tcp', section: 'listen web', file: '/etc/haproxy/a.cfg', line: 7 },
  { endpoint: '[::1]:81/tcp', section: 'listen x', file: 'a.cfg', line: 9, quarantined: true },
]);

export const STAT =
  '3243981 (haproxy (x) y) S 1 3243981 3243981 0 -1 4194560 9 0 0 0 12 34 0 0 20 0 1 0 47110815 99 7 1844\n';

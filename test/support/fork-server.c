/*
 * Loaded into a real haproxy (LD_PRELOAD), so that thousands of configurations a minute can be tried: the process stops where
 * it follows its own -C, before it has looked at any file, and serves from there. For each directory named on standard input
 * it forks a child, which goes on in that directory as if -C had named it, reads the files, binds, and at its first look for
 * events tells every socket that listens, as the kernel knows it. One line a socket, then `end STATUS` (128 + signal).
 *
 * Only symbols of old C libraries: it also runs with the one of Debian bullseye.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIOCGSKNS 0x894C
#define ANSWERS 1023
#define LIMIT_SECONDS 20

static int number(int fd, int level, int option)
{
	int value = 0;
	socklen_t size = sizeof value;
	return getsockopt(fd, level, option, &value, &size) == 0 ? value : -1;
}

/* Inode of a network namespace: the one that the socket is in, or one's own. */
static unsigned long namespace_of(int fd)
{
	char target[64] = "";
	char path[64] = "/proc/self/ns/net";
	int ns = -1;
	if (fd >= 0) {
		if ((ns = ioctl(fd, SIOCGSKNS)) < 0) return 0;
		snprintf(path, sizeof path, "/proc/self/fd/%d", ns);
	}
	if (readlink(path, target, sizeof target - 1) < 0) target[0] = 0;
	if (ns >= 0) close(ns);
	return strncmp(target, "net:[", 5) == 0 ? strtoul(target + 5, NULL, 10) : 0;
}

/* Thread groups of 2.8 and later have a descriptor each of one socket. */
static int told_before(int fd)
{
	static unsigned long long told[4096];
	static size_t count;
	unsigned long long cookie = 0;
	socklen_t size = sizeof cookie;
	/* Not fstat(): the C library that HAProxy 2.2 runs with exports none. */
	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) != 0) return 0;
	for (size_t i = 0; i < count; i++)
		if (told[i] == cookie) return 1;
	if (count < sizeof told / sizeof *told) told[count++] = cookie;
	return 0;
}

static void tell_socket(int fd, unsigned long own)
{
	struct sockaddr_storage address, peer;
	socklen_t size = sizeof address, peer_size = sizeof peer;
	char text[INET6_ADDRSTRLEN] = "", device[64] = "";
	socklen_t device_size = sizeof device;
	int type = number(fd, SOL_SOCKET, SO_TYPE);
	if (type >= 0 && told_before(fd)) return;
	if (type < 0 || getsockname(fd, (struct sockaddr *)&address, &size) != 0) return;
	if (type == SOCK_STREAM && number(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1) return;
	if (type != SOCK_STREAM && getpeername(fd, (struct sockaddr *)&peer, &peer_size) == 0) return;
	if (address.ss_family == AF_UNIX) {
		const unsigned char *path = (const unsigned char *)((struct sockaddr_un *)&address)->sun_path;
		size_t length = size - offsetof(struct sockaddr_un, sun_path);
		if (type != SOCK_STREAM) return;
		dprintf(ANSWERS, "unix ");
		for (size_t i = 0; i < length; i++) dprintf(ANSWERS, "%02x", path[i]);
		dprintf(ANSWERS, "\n");
		return;
	}
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;
	int six = address.ss_family == AF_INET6;
	if ((!six && address.ss_family != AF_INET) || (six ? v6->sin6_port : v4->sin_port) == 0) return;
	inet_ntop(address.ss_family, six ? (const void *)&v6->sin6_addr : (const void *)&v4->sin_addr, text, sizeof text);
	getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &device_size);
	dprintf(ANSWERS, "inet %s %s %d %d %s %d\n", type == SOCK_STREAM ? "tcp" : "udp", text,
		ntohs(six ? v6->sin6_port : v4->sin_port), six && number(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 1,
		device[0] ? device : "-", namespace_of(fd) != own);
}

static void tell_sockets(void)
{
	unsigned long own = namespace_of(-1);
	DIR *all = opendir("/proc/self/fd");
	for (struct dirent *entry; all != NULL && (entry = readdir(all)) != NULL;) {
		if (entry->d_name[0] != '.' && atoi(entry->d_name) != ANSWERS) tell_socket(atoi(entry->d_name), own);
	}
}

static void on_alarm(int signal)
{
	(void)signal;
}

/* Returns in the child of each request, with standard streams of its own; never in the server. */
static void serve(char *directory, size_t room)
{
	struct sigaction action = { .sa_handler = on_alarm };
	sigaction(SIGALRM, &action, NULL);
	dup2(STDOUT_FILENO, ANSWERS);
	dprintf(ANSWERS, "ready\n");
	while (fgets(directory, (int)room, stdin) != NULL) {
		int status = 0;
		directory[strcspn(directory, "\n")] = 0;
		pid_t child = fork();
		if (child == 0) {
			setsid();
			dup2(open("/dev/null", O_RDWR), STDIN_FILENO);
			if (chdir(directory) != 0) _exit(99);
			int output = open("../output", O_WRONLY | O_CREAT | O_TRUNC, 0600);
			dup2(output, STDOUT_FILENO);
			dup2(output, STDERR_FILENO);
			return;
		}
		alarm(LIMIT_SECONDS);
		if (waitpid(child, &status, 0) != child) {
			kill(child, SIGKILL);
			waitpid(child, &status, 0);
		}
		alarm(0);
		kill(-child, SIGKILL);
		dprintf(ANSWERS, "end %d\n", WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	}
	_exit(0);
}

int chdir(const char *path)
{
	static int serving;
	static char directory[4096];
	if (!serving) {
		serving = 1;
		unsetenv("LD_PRELOAD");
		serve(directory, sizeof directory);
		return 0;
	}
	return (int)syscall(SYS_chdir, path);
}

/*
 * A master of HAProxy 3.1 or later has a worker by now, which reads and binds: it is left at its own work, which is to end as
 * the worker ends. The worker waits for its word.
 */
static int is_master(void)
{
	static int master;
	siginfo_t ended;
	if (!master) master = waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0;
	return master;
}

int epoll_wait(int fd, struct epoll_event *events, int most, int timeout)
{
	if (is_master()) return (int)syscall(SYS_epoll_pwait, fd, events, most, timeout, NULL, 8);
	static int told;
	if (__sync_lock_test_and_set(&told, 1)) pause(); /* another thread is at it */
	tell_sockets();
	_exit(0);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* cli.h - what the sub-commands share: the tables that describe a command, the state of a run, the one way to fail. A
 * command is one file with one table at its end; --help, completion and checks of the manual are made from the tables.
 * The tool has one thread except where a file says otherwise. */
#ifndef VIXDISK_TOOL_CLI_H
#define VIXDISK_TOOL_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vixDiskLib.h"
#include "vixDiskLibExt.h"

enum exit_status { STATUS_DONE = 0, STATUS_FAILED = 1, STATUS_USAGE = 2, STATUS_TEMPORARY = 75, STATUS_SIGNAL = 128 };

#define SECTOR_BYTES ((uint64_t)VIXDISKLIB_SECTOR_SIZE)
#define SETTINGS_MAX 32

/* ---- values of options: the members of a command's arguments ---- */

/** A size, an offset or a length in bytes. */
struct bytes_arg {
    bool given;
    uint64_t bytes;
};

/** A plain number. */
struct number_arg {
    bool given;
    uint32_t value;
};

/** A kind of disk: a VMDK type, or a raw image. */
struct type_arg {
    bool given;
    bool raw;
    VixDiskLibDiskType type;
};

enum disk_format { FORMAT_AUTO, FORMAT_VMDK, FORMAT_RAW };

enum option_kind {
    OPTION_END,      /* ends a table */
    OPTION_FLAG,     /* bool */
    OPTION_TEXT,     /* const char * */
    OPTION_BYTES,    /* struct bytes_arg, any number of bytes */
    OPTION_SECTORS,  /* struct bytes_arg, a multiple of 512 */
    OPTION_NUMBER,   /* struct number_arg, within low..high */
    OPTION_TYPE,     /* struct type_arg, a VMDK type */
    OPTION_ANY_TYPE, /* struct type_arg, a VMDK type or "raw" */
    OPTION_FORMAT,   /* enum disk_format, "vmdk" or "raw" */
    OPTION_ADAPTER,  /* VixDiskLibAdapterType */
    OPTION_SETTING,  /* const char *[SETTINGS_MAX], NAME=VALUE, repeatable */
    OPTION_OUTPUT,   /* bool: "json" is true, "human" is false */
    OPTION_PROGRESS, /* struct progress_arg, optional descriptor */
    OPTION_HELP
};

/** --progress[=FD]. */
struct progress_arg {
    bool given;
    int fd; /* -1: readable lines on standard error */
};

/** One option. */
struct option_spec {
    const char *name; /* without "--" */
    char letter;      /* or 0 */
    enum option_kind kind;
    size_t at;       /* offsetof the value in the arguments */
    const char *arg; /* word for the value in help, or NULL */
    const char *help;
    uint32_t low; /* OPTION_NUMBER */
    uint32_t high;
};

/** Groups of options that many commands have. */
enum option_group { GROUP_DISKS = 1, GROUP_JSON = 2, GROUP_PROGRESS = 4, GROUP_REMOTE = 8, GROUP_LAST = GROUP_REMOTE };

/** How a server is reached. */
struct remote_args {
    const char *host, *user, *password_file, *cookie_file, *thumbprint, *vm, *snapshot, *transport, *compress;
    struct number_arg port, nfc_port, password_fd;
};

/** Options of every command that has the group. */
struct common_args {
    const char *config;
    const char *settings[SETTINGS_MAX];
    bool allow_outside;
    bool quiet;
    bool verbose;
    bool json;
    struct progress_arg progress;
    struct remote_args remote;
};

struct cli;

/** One sub-command. */
struct command {
    const char *name;
    const char *alias; /* or NULL */
    const char *usage; /* what follows the name, without options */
    const char *summary;
    const char *details;               /* further paragraphs for --help, or NULL */
    const struct option_spec *options; /* own options, or NULL */
    unsigned groups;                   /* GROUP_ bits */
    size_t args_size;
    int min_operands;
    int max_operands;   /* -1: no limit */
    int usage_status;   /* 0: STATUS_USAGE */
    int trouble_status; /* 0: STATUS_FAILED, or STATUS_TEMPORARY where a retry may help */
    int (*run)(struct cli *cli, const void *args);
};

/** The state of a run. */
struct cli {
    const struct command *command;
    struct common_args common;
    char **argv; /* all arguments; [0]: the name of the command */
    int noperands;
    char **operands;
    VixDiskLibConnection connection; /* local; NULL until cli_connect */
    VixDiskLibConnection server;     /* NULL until cli_connect_server */
    VixDiskLibConnection as_of;      /* to the same server, as of a snapshot; NULL until cli_connect_snapshot */
    bool library_started;
};

/** All commands, NULL at the end. */
extern const struct command *const commands[];

/** The command of a name or an alias; NULL if there is none. */
const struct command *command_find(const char *name);

/** Runs one command over its arguments (argv[0] is the name of the command) and returns the exit status. */
int command_run(const struct command *command, int argc, char **argv);

/** What a program does before anything else: a closed pipe is no signal, and descriptors 0 to 2 are taken. */
void program_begin(void);

/** Prints the help of one command, or the overview, on standard output. */
void help_command(const struct command *command);
void help_overview(void);

/** The options of a group; OPTION_END at the end. */
const struct option_spec *group_options(enum option_group group);

/* ---- options.c ---- */

/** Reads the options of a command. @cli common and operands are set. @args the command's own arguments, zeroed. Returns
 * -1 to go on, else the exit status to end with. */
int options_parse(struct cli *cli, void *args, int argc, char **argv);

/* ---- report.c: the one way to fail ---- */

/** Prints the failure of the library call made last, as one line or as a JSON object; returns the exit status. @path
 * the disk it is about, or NULL. */
int fail(struct cli *cli, const char *path, VixError code);

/** As fail, of a failure of which was kept what the library told: the sentence, and whether a retry can help. */
int fail_kept(struct cli *cli, const char *path, VixError code, bool retryable, const char *detail);

/** The failure told last on this thread, in one line; "" if there was none. Until the next one. */
const char *failure_text(void);

/** As fail, with a sentence of the tool. */
int fail_with(struct cli *cli, const char *path, VixError code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/** As fail_with for a failed system call of the tool. */
int fail_errno(struct cli *cli, const char *path, int errnum, const char *doing);

/** Prints a mistake in the command line; returns the exit status. */
int usage_error(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** Prints a remark on standard error unless --quiet. */
void remark(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** Flushes standard output and finds out whether everything arrived. @status the status so far, returned if it did. */
int finish_output(const char *command_name, int status);

/* ---- open.c: the library and disks ---- */

/** Starts the library with the configuration of the command line. 0, or the status of a reported failure. */
int cli_start(struct cli *cli);

/** cli_start, and the local connection, unless they are there. Returns as cli_start. */
int cli_connect(struct cli *cli);

/** Ends what cli_start and cli_connect began. */
void cli_end(struct cli *cli);

/** Opens a disk, local or on a server; connects first. A failure has been reported, and the status is returned; 0 on
 * success. @format FORMAT_AUTO: a VMDK; a raw image only for names and devices that can be nothing else. @flags
 * VIXDISKLIB_FLAG_OPEN_ bits. */
int open_disk(struct cli *cli, const char *path, enum disk_format format, uint32 flags, VixDiskLibHandle *ret_disk);

/** Whether a new file of that name is to be a raw image. */
bool is_raw_name(const char *path);

/** Capacity in bytes. Reports as open_disk. */
int disk_bytes(struct cli *cli, const char *path, VixDiskLibHandle disk, uint64_t *ret_bytes);

/** Closes a disk that was written; returns status, or the status of the reported failure if status is 0. */
int close_disk(struct cli *cli, const char *path, VixDiskLibHandle disk, int status);

/** The range of -o and -n within a disk of the given size. Reports as open_disk. */
int disk_range(struct cli *cli, const char *path, uint64_t capacity, struct bytes_arg off, struct bytes_arg len,
               uint64_t *ret_off, uint64_t *ret_len);

/* ---- server.c: the connection to a server ---- */

/** Whether options or variables name a server. */
bool server_is_named(const struct cli *cli);

/** Whether a path goes to the server: "[datastore] dir/x.vmdk", and a server is named. */
bool is_remote_path(const struct cli *cli, const char *path);

/** The name and port of the server that options or variables name. -1 to go on, or the status of a mistake. */
int server_address(const struct cli *cli, char *host, size_t size, uint32_t *port);

/** The thumbprint that they name; NULL. */
const char *server_thumbprint(const struct cli *cli);

/** The snapshot that options or variables name; NULL. */
const char *server_snapshot(const struct cli *cli);

/** cli_start, and the connection to the server, unless they are there. Returns as cli_start. */
int cli_connect_server(struct cli *cli);

/** One more connection to the server that cli_connect_server has connected to, for reading disks as of a snapshot
 * (NULL: as of now), until cli_leave_snapshot or the end. */
VixError cli_connect_snapshot(struct cli *cli, const char *snapshot);
void cli_leave_snapshot(struct cli *cli);

/** Bytes from and to the server so far; 0 where there is none. */
void cli_traffic(const struct cli *cli, uint64_t *ret_in, uint64_t *ret_out);

/** The connection that a path belongs to. Returns as cli_start. */
int cli_connect_for(struct cli *cli, const char *path, VixDiskLibConnection *ret_connection);

/** Whether a machine is named, whose disks can be opened. -1 to go on, or the status of a mistake. */
int need_machine(const struct cli *cli);

/** The VIXDISKLIB_FLAG_OPEN_COMPRESSION_ of the command line. -1 to go on, or the status of a mistake. */
int compression_flags(const struct cli *cli, uint32 *ret_flags);

/** Takes "NAME", "NAME:PORT", "[ADDRESS]:PORT" apart; *port stays if there is none. */
bool parse_host_port(const char *text, char *host, size_t size, uint32_t *port);

#endif

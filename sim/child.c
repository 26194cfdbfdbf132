#include "config.h"

#include "sim/child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Frames on the pipe: a kind, a size, the bytes. */
typedef enum { FRAME_DATA, FRAME_PROGRESS } FrameKind;

typedef struct {
    guint64 kind, size;
} Frame;

struct MoeChild {
    FILE *pipe;
    gint64 last_us; /* of the last progress frame */
};

static void must(gboolean done)
{
    if (!done)
        _exit(1); /* the parent is gone */
}

static void send_frame(MoeChild *child, FrameKind kind, const void *data, gsize size)
{
    Frame frame = {kind, size};
    must(fwrite(&frame, sizeof(frame), 1, child->pipe) == 1);
    must(fwrite(data, 1, size, child->pipe) == size);
}

void moe_child_send(MoeChild *child, const void *data, gsize size)
{
    send_frame(child, FRAME_DATA, data, size);
}

void moe_child_progress(MoeChild *child, double done, double total)
{
    gint64 now = g_get_monotonic_time();
    if (now - child->last_us < G_USEC_PER_SEC / 10)
        return;
    child->last_us = now;
    double pair[2] = {done, total};
    send_frame(child, FRAME_PROGRESS, pair, sizeof(pair));
    must(fflush(child->pipe) == 0);
}

/* What has arrived from the child, cut into frames as they become complete. */
typedef struct {
    GByteArray *pending, *data;
    GString *errors;
    MoeProgress *progress;
} Received;

static void take_frames(Received *r)
{
    for (;;) {
        Frame frame;
        if (r->pending->len < sizeof(frame))
            return;
        memcpy(&frame, r->pending->data, sizeof(frame));
        if (r->pending->len < sizeof(frame) + frame.size)
            return;
        const guint8 *body = r->pending->data + sizeof(frame);
        if (frame.kind == FRAME_DATA) {
            g_byte_array_append(r->data, body, (guint)frame.size);
        } else {
            double pair[2];
            memcpy(pair, body, sizeof(pair));
            moe_progress_update(r->progress, pair[0], pair[1]);
        }
        g_byte_array_remove_range(r->pending, 0, (guint)(sizeof(frame) + frame.size));
    }
}

/* Reads what is there; FALSE at the end of the stream. */
static gboolean receive(int fd, gboolean frames, Received *r)
{
    static const gsize most_errors = 4096;
    guint8 block[1 << 16];
    ssize_t got = read(fd, block, sizeof(block));
    if (got < 0 && errno == EINTR)
        return TRUE;
    if (got <= 0)
        return FALSE;
    if (frames) {
        g_byte_array_append(r->pending, block, (guint)got);
        take_frames(r);
    } else {
        g_string_append_len(r->errors, (const char *)block, got);
        if (r->errors->len > most_errors)
            g_string_erase(r->errors, 0, (gssize)(r->errors->len - most_errors));
    }
    return TRUE;
}

static void receive_all(int data_fd, int error_fd, Received *r)
{
    struct pollfd fds[] = {{.fd = data_fd, .events = POLLIN}, {.fd = error_fd, .events = POLLIN}};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        for (int i = 0; i < 2; i++)
            if (fds[i].fd >= 0 && fds[i].revents != 0 && !receive(fds[i].fd, i == 0, r))
                fds[i].fd = -1;
    }
    close(data_fd);
    close(error_fd);
}

static void run_child(void (*work)(MoeChild *child, void *user), void *user, int data_fd,
                      int error_fd)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    dup2(error_fd, STDERR_FILENO);
    close(error_fd);
    MoeChild child = {.pipe = fdopen(data_fd, "w")};
    must(child.pipe != NULL && setvbuf(child.pipe, NULL, _IOFBF, 1 << 16) == 0);
    work(&child, user);
    must(fflush(child.pipe) == 0);
    /* Not exit(): what the parent registered to happen at its end is not ours to do. */
    _exit(0);
}

static gboolean fail_dead(const char *what, int status, const GString *errors, GError **error)
{
    /* The last lines say why; a list of functions behind them does not. */
    g_autofree char *text = g_strndup(errors->str, errors->len);
    char *backtrace = strstr(text, "Backtrace (");
    if (backtrace != NULL)
        *backtrace = '\0';
    g_strstrip(text);
    const char *tail = text;
    int lines = 0;
    for (const char *p = text + strlen(text); p > text && lines < 4; p--)
        if (p[-1] == '\n' && ++lines == 4)
            tail = p;
    g_autofree char *how = WIFSIGNALED(status) ? g_strdup_printf("signal %d", WTERMSIG(status))
                                               : g_strdup_printf("exit %d", WEXITSTATUS(status));
    return moe_fail(error, MOE_ERROR_FAILED, "%s died (%s)%s%s", what, how,
                    *tail != '\0' ? ": " : "", tail);
}

GBytes *moe_child_run(const char *what, void (*work)(MoeChild *child, void *user), void *user,
                      MoeProgress *progress, GError **error)
{
    int data[2] = {-1, -1}, errors[2] = {-1, -1};
    pid_t pid = -1;
    fflush(NULL); /* or the child would print what waits in the buffers once more */
    if (pipe(data) == 0 && pipe(errors) == 0)
        pid = fork();
    if (pid < 0) {
        moe_fail(error, MOE_ERROR_FAILED, "%s cannot be started: %s", what, g_strerror(errno));
        for (int i = 0; i < 2; i++) {
            if (data[i] >= 0)
                close(data[i]);
            if (errors[i] >= 0)
                close(errors[i]);
        }
        return NULL;
    }
    if (pid == 0) {
        close(data[0]);
        close(errors[0]);
        run_child(work, user, data[1], errors[1]);
    }
    close(data[1]);
    close(errors[1]);
    g_autoptr(GByteArray) pending = g_byte_array_new(), bytes = g_byte_array_new();
    g_autoptr(GString) words = g_string_new(NULL);
    Received received = {pending, bytes, words, progress};
    receive_all(data[0], errors[0], &received);
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fail_dead(what, status, words, error);
        return NULL;
    }
    return g_byte_array_free_to_bytes(g_steal_pointer(&bytes));
}

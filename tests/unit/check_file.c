#include "config.h"

#include "sim/base/file.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char *inside(const char *name)
{
    return g_build_filename(test_folder(), name, NULL);
}

static void assert_content(const char *path, const char *wanted)
{
    g_autofree char *data = NULL;
    size_t length;
    g_autoptr(GError) error = NULL;
    ck_assert(moe_file_read(path, 1 << 20, &data, &length, &error));
    assert_no_error(error);
    ck_assert_uint_eq(length, strlen(wanted));
    ck_assert_mem_eq(data, wanted, length + 1);
}

/* A fresh folder with one file, "target", that holds "old". */
static char *fresh_target(const char *folder)
{
    g_autofree char *path = inside(folder);
    ck_assert_int_eq(g_mkdir(path, 0777), 0);
    g_autofree char *name = g_build_filename(folder, "target", NULL);
    return test_file(name, "old", -1);
}

/* Nothing but "target" may be in the folder that fresh_target() made. */
static void assert_alone(const char *folder)
{
    g_autofree char *path = inside(folder);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    ck_assert_str_eq(g_dir_read_name(dir), "target");
    const char *other = g_dir_read_name(dir);
    ck_assert_msg(other == NULL, "%s was left behind", other != NULL ? other : "");
}

/* --- reading --------------------------------------------------------------------------------- */

START_TEST(reads_up_to_the_limit)
{
    g_autofree char *path = test_file("five", "a\0b\0c", 5);
    GError *error = NULL;
    for (size_t limit = 5; limit <= 6; limit++) {
        g_autofree char *data = NULL;
        size_t length = 0;
        ck_assert(moe_file_read(path, limit, &data, &length, &error));
        ck_assert_uint_eq(length, 5);
        ck_assert_mem_eq(data, "a\0b\0c", 6); /* and the NUL behind */
    }
    char untouched[] = "x", *data = untouched;
    size_t length = 77;
    ck_assert(!moe_file_read(path, 4, &data, &length, &error));
    assert_error(&error, MOE_ERROR_INPUT, "five: larger than 4 bytes, the most that is read here");
    ck_assert(data == untouched && length == 77);
}
END_TEST

START_TEST(reads_an_empty_file)
{
    g_autofree char *path = test_file("empty", "", -1);
    assert_content(path, "");
}
END_TEST

/* The limit holds for what has no size of its own too: this source never ends. */
START_TEST(bounds_endless_input)
{
    GError *error = NULL;
    char *data = NULL;
    size_t length;
    ck_assert(!moe_file_read("/dev/zero", 1 << 20, &data, &length, &error));
    assert_error(&error, MOE_ERROR_INPUT, "/dev/zero: larger than 1048576 bytes");
}
END_TEST

START_TEST(refuses_what_is_no_file)
{
    g_autofree char *missing = inside("no-such-file"), *below = inside("five/below");
    g_free(test_file("five", "12345", -1));
    const struct {
        const char *path, *reason;
    } rows[] = {
        {missing, "no-such-file: cannot be read: No such file or directory"},
        {below, "below: cannot be read: Not a directory"},
        {test_folder(), "cannot be read: Is a directory"},
        {"", "cannot be read: No such file or directory"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        GError *error = NULL;
        char *data = NULL;
        size_t length;
        ck_assert(!moe_file_read(rows[i].path, 99, &data, &length, &error));
        assert_error(&error, MOE_ERROR_INPUT, rows[i].reason);
        ck_assert_ptr_null(moe_file_map(rows[i].path, &error));
        assert_error(&error, MOE_ERROR_INPUT, rows[i].reason);
        ck_assert_ptr_null(moe_file_digest(rows[i].path, &error));
        assert_error(&error, MOE_ERROR_INPUT, rows[i].reason);
    }
}
END_TEST

START_TEST(maps_regular_files_with_content)
{
    GError *error = NULL;
    g_autofree char *path = test_file("mapped", "a\0b", 3);
    g_autoptr(GMappedFile) file = moe_file_map(path, &error);
    assert_no_error(error);
    ck_assert_uint_eq(g_mapped_file_get_length(file), 3);
    ck_assert_mem_eq(g_mapped_file_get_contents(file), "a\0b", 3);
    g_autofree char *empty = test_file("empty", "", -1);
    ck_assert_ptr_null(moe_file_map(empty, &error));
    assert_error(&error, MOE_ERROR_INPUT, "empty: the file is empty");
    ck_assert_ptr_null(moe_file_map("/dev/null", &error));
    assert_error(&error, MOE_ERROR_INPUT, "/dev/null: not a regular file");
}
END_TEST

/* --- digests --------------------------------------------------------------------------------- */

static const off_t mib = 1 << 20;

/* A sparse file of @size zeros but for one byte 7 at @mark (-1: none). */
static char *sparse_file(const char *name, off_t size, off_t mark)
{
    char *path = inside(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert(fd >= 0 && ftruncate(fd, size) == 0);
    ck_assert(mark < 0 || pwrite(fd, "\7", 1, mark) == 1);
    close(fd);
    return path;
}

static char *digest_of(off_t size, off_t mark)
{
    g_autofree char *path = sparse_file("sparse", size, mark);
    g_autoptr(GError) error = NULL;
    char *digest = moe_file_digest(path, &error);
    assert_no_error(error);
    g_unlink(path);
    return digest;
}

/* The first is the example of FIPS 180-2; the others are from Python's hashlib over the bytes that
 * the header names. */
START_TEST(digests_content)
{
    g_autofree char *small = test_file("abc", "abc", -1);
    g_autoptr(GError) error = NULL;
    g_autofree char *abc = moe_file_digest(small, &error);
    ck_assert_str_eq(abc,
                     "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    g_autofree char *largest_whole = digest_of(256 * mib, -1);
    ck_assert_str_eq(largest_whole,
                     "sha256:a6d72ac7690f53be6ae46ba88506bd97302a093f7108472bd9efc3cefda06484");
    g_autofree char *sampled = digest_of(256 * mib + 1, -1);
    ck_assert_str_eq(
        sampled, "sha256-sampled:34d89b8ff8585a31f004416b9226324f5d453fc079c6bb63a0067018c3941a78");
    g_autofree char *marked = digest_of(256 * mib + 1, 64 * mib);
    ck_assert_str_eq(
        marked, "sha256-sampled:2f1fae43ba1c2f4584de958dd95a37b965a7ad25a7644c38e44918b97168ac30");
}
END_TEST

/* Of a large file, its size, the first and the last MiB and the first of every 64 count. */
START_TEST(samples_large_files)
{
    const off_t size = 300 * mib + 5;
    g_autofree char *zeros = digest_of(size, -1), *longer = digest_of(size + 1, -1);
    ck_assert_str_ne(zeros, longer);
    const struct {
        off_t mark;
        gboolean counts;
    } rows[] = {
        {0, TRUE},          {mib - 1, TRUE},      {mib, FALSE},
        {64 * mib, TRUE},   {65 * mib - 1, TRUE}, {65 * mib, FALSE},
        {256 * mib, TRUE},  {298 * mib, FALSE},   {size - mib - 1, FALSE},
        {size - mib, TRUE}, {size - 1, TRUE},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *digest = digest_of(size, rows[i].mark);
        ck_assert_msg((strcmp(digest, zeros) != 0) == rows[i].counts, "byte %lld",
                      (long long)rows[i].mark);
    }
}
END_TEST

/* --- writing --------------------------------------------------------------------------------- */

START_TEST(writes_a_new_file)
{
    g_autofree char *path = inside("new-file");
    g_autoptr(GError) error = NULL;
    mode_t mask = umask(027);
    MoeWriter *writer = moe_writer_new(path, FALSE, &error);
    assert_no_error(error);
    moe_writer_write(writer, "bytes ", 6);
    moe_writer_write(writer, NULL, 0);
    moe_writer_printf(writer, "and %d number%s\n", 1, "");
    /* Nobody sees half of it. */
    ck_assert(!g_file_test(path, G_FILE_TEST_EXISTS));
    ck_assert(moe_writer_close(writer, &error));
    umask(mask);
    assert_content(path, "bytes and 1 number\n");
    struct stat info;
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_uint_eq(info.st_mode & 07777, 0640);
}
END_TEST

START_TEST(replaces_only_with_force)
{
    GError *error = NULL;
    g_autofree char *path = fresh_target("force");
    ck_assert_ptr_null(moe_writer_new(path, FALSE, &error));
    assert_error(&error, MOE_ERROR_FAILED, "target: exists already; add --force to replace it");
    ck_assert(!moe_file_write(path, FALSE, "new", 3, &error));
    assert_error(&error, MOE_ERROR_FAILED, "target: exists already; add --force to replace it");
    assert_content(path, "old");
    ck_assert(moe_file_write(path, TRUE, "new", 3, &error));
    assert_no_error(error);
    assert_content(path, "new");
    assert_alone("force");
}
END_TEST

START_TEST(cancelling_leaves_the_target)
{
    GError *error = NULL;
    g_autofree char *path = fresh_target("cancel");
    MoeWriter *writer = moe_writer_new(path, TRUE, &error);
    moe_writer_printf(writer, "half of");
    moe_writer_cancel(writer);
    moe_writer_cancel(NULL);
    assert_content(path, "old");
    assert_alone("cancel");
}
END_TEST

/* Two writers of one name that was free when they began: the first stays. */
START_TEST(the_later_of_two_writers_replaces_nothing)
{
    GError *error = NULL;
    g_autofree char *folder = inside("race"), *path = inside("race/target");
    ck_assert_int_eq(g_mkdir(folder, 0777), 0);
    MoeWriter *first = moe_writer_new(path, FALSE, &error),
              *second = moe_writer_new(path, FALSE, &error);
    moe_writer_printf(first, "first");
    moe_writer_printf(second, "second");
    ck_assert(moe_writer_close(first, &error));
    ck_assert(!moe_writer_close(second, &error));
    assert_error(&error, MOE_ERROR_FAILED, "target: exists already; add --force to replace it");
    assert_content(path, "first");
    assert_alone("race");
}
END_TEST

START_TEST(permissions_stay)
{
    GError *error = NULL;
    g_autofree char *path = fresh_target("mode");
    static const mode_t modes[] = {0600, 0666, 0444};
    mode_t mask = umask(027);
    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        struct stat info;
        ck_assert_int_eq(chmod(path, modes[i]), 0);
        ck_assert(moe_file_write(path, TRUE, "new", 3, &error));
        ck_assert_int_eq(stat(path, &info), 0);
        ck_assert_uint_eq(info.st_mode & 07777, modes[i]);
    }
    umask(mask);
}
END_TEST

START_TEST(names_may_be_as_long_as_the_system_allows)
{
    GError *error = NULL;
    char name[256] = {0};
    memset(name, 'x', 255);
    g_autofree char *ascii = inside(name);
    ck_assert(moe_file_write(ascii, FALSE, "long", 4, &error));
    assert_content(ascii, "long");
    for (int i = 1; i + 1 < 255; i += 2)
        memcpy(name + i, "\xc3\xa4", 2);
    g_autofree char *umlauts = inside(name);
    ck_assert(moe_file_write(umlauts, FALSE, "long", 4, &error));
    assert_content(umlauts, "long");
}
END_TEST

START_TEST(a_link_to_nothing_stays)
{
    GError *error = NULL;
    g_autofree char *link = inside("dangling"), *nothing = inside("nothing");
    ck_assert_int_eq(symlink(nothing, link), 0);
    for (int force = 0; force < 2; force++) {
        ck_assert(!moe_file_write(link, force, "new", 3, &error));
        assert_error(&error, MOE_ERROR_FAILED, "dangling: is a link to nothing; delete it first");
        ck_assert(g_file_test(link, G_FILE_TEST_IS_SYMLINK));
        ck_assert(!g_file_test(nothing, G_FILE_TEST_EXISTS));
    }
}
END_TEST

START_TEST(checks_without_writing)
{
    GError *error = NULL;
    g_autofree char *path = fresh_target("check"), *pipe_path = inside("checked-pipe");
    ck_assert(!moe_writer_check(path, FALSE, &error));
    assert_error(&error, MOE_ERROR_FAILED, "target: exists already");
    ck_assert(moe_writer_check(path, TRUE, &error));
    assert_content(path, "old");
    assert_alone("check");
    ck_assert(!moe_writer_check("", TRUE, &error));
    assert_error(&error, MOE_ERROR_USAGE, "the name of the file to write is empty");
    ck_assert(!moe_folder_prepare("", TRUE, &error));
    assert_error(&error, MOE_ERROR_USAGE, "the name of the folder to write to is empty");
    /* Were the pipe opened and closed, its reader would be told that all is over. */
    ck_assert_int_eq(mkfifo(pipe_path, 0600), 0);
    int fd = open(pipe_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ck_assert(moe_writer_check(pipe_path, FALSE, &error));
    struct pollfd reader = {.fd = fd, .events = POLLIN};
    ck_assert_int_eq(poll(&reader, 1, 0), 0);
    close(fd);
}
END_TEST

START_TEST(a_signal_handler_can_clean_up)
{
    g_autofree char *path = fresh_target("signal");
    GError *error = NULL;
    MoeWriter *writer = moe_writer_new(path, TRUE, &error),
              *cancelled = moe_writer_new(path, TRUE, &error);
    ck_assert(writer != NULL && cancelled != NULL);
    moe_writer_cancel(cancelled);
    moe_writer_remove_unfinished();
    assert_alone("signal");
    moe_writer_cancel(writer);
}
END_TEST

START_TEST(links_stay)
{
    g_autofree char *path = fresh_target("linked"), *link = inside("link");
    GError *error = NULL;
    ck_assert_int_eq(symlink("linked/target", link), 0);
    ck_assert(!moe_file_write(link, FALSE, "new", 3, &error));
    assert_error(&error, MOE_ERROR_FAILED, "link: exists already");
    ck_assert(moe_file_write(link, TRUE, "new", 3, &error));
    ck_assert(g_file_test(link, G_FILE_TEST_IS_SYMLINK));
    assert_content(path, "new");
    assert_alone("linked");
}
END_TEST

/* A limit on the size of files stands in for a full disk. */
START_TEST(a_full_disk_leaves_the_target)
{
    GError *error = NULL;
    g_autofree char *path = fresh_target("full");
    struct rlimit before, limit;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 1 << 16;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    static const char block[1 << 15];
    MoeWriter *writer = moe_writer_new(path, TRUE, &error);
    for (int i = 0; i < 8; i++) {
        moe_writer_write(writer, block, sizeof(block));
        moe_writer_printf(writer, "%d", i);
    }
    gboolean good = moe_writer_close(writer, &error);
    /* Small enough for the buffer: only the flush in closing can notice. */
    limit.rlim_cur = 1;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    GError *late = NULL;
    gboolean late_good = moe_file_write(path, TRUE, "new", 3, &late);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    ck_assert(!good && !late_good);
    assert_error(&error, MOE_ERROR_FAILED, "target: cannot be written: File too large");
    assert_error(&late, MOE_ERROR_FAILED, "target: cannot be written: File too large");
    assert_content(path, "old");
    assert_alone("full");
}
END_TEST

/* The target becomes a folder while the file is being written. */
START_TEST(a_failed_rename_leaves_no_temporary_file)
{
    GError *error = NULL;
    g_autofree char *path = fresh_target("rename");
    MoeWriter *writer = moe_writer_new(path, TRUE, &error);
    ck_assert(g_unlink(path) == 0 && g_mkdir(path, 0777) == 0);
    moe_writer_printf(writer, "new");
    ck_assert(!moe_writer_close(writer, &error));
    assert_error(&error, MOE_ERROR_FAILED, "target: cannot be written: Is a directory");
    assert_alone("rename");
}
END_TEST

START_TEST(makes_folders)
{
    g_autofree char *path = inside("new/folders/file"), *inner = inside("new/folders");
    g_autofree char *outer = inside("new");
    GError *error = NULL;
    MoeWriter *writer = moe_writer_new(path, FALSE, &error);
    assert_no_error(error);
    moe_writer_remove_unfinished();
    ck_assert(!g_file_test(outer, G_FILE_TEST_EXISTS));
    moe_writer_cancel(writer);
    ck_assert(moe_file_write(path, FALSE, "x", 1, &error));
    assert_no_error(error);
    moe_writer_remove_unfinished();
    assert_content(path, "x");
    ck_assert(g_unlink(path) == 0 && g_rmdir(inner) == 0 && g_rmdir(outer) == 0);
}
END_TEST

START_TEST(refuses_bad_targets)
{
    GError *error = NULL;
    g_autofree char *file = test_file("five", "12345", 5);
    g_autofree char *below = g_build_filename(file, "below", NULL);
    for (int force = 0; force < 2; force++) {
        ck_assert(!moe_file_write(test_folder(), force, "x", 1, &error));
        assert_error(&error, MOE_ERROR_FAILED, ": is a folder; give the name of a file");
        ck_assert(!moe_file_write(below, force, "x", 1, &error));
        assert_error(&error, MOE_ERROR_FAILED, "below: cannot be written: Not a directory");
    }
}
END_TEST

/* --- targets that are not regular files ------------------------------------------------------ */

/* Through a link of ours, so that a writer that replaces its target spares the machine's device. */
START_TEST(writes_to_a_device_directly)
{
    GError *error = NULL;
    struct stat info;
    g_autofree char *full = inside("full-device"), *null = inside("null-device");
    ck_assert(symlink("/dev/full", full) == 0 && symlink("/dev/null", null) == 0);
    for (int force = 0; force < 2; force++) {
        ck_assert(!moe_file_write(full, force, "x", 1, &error));
        assert_error(&error, MOE_ERROR_FAILED,
                     "full-device: cannot be written: No space left on device");
        ck_assert(moe_file_write(null, force, "x", 1, &error));
        assert_no_error(error);
        MoeWriter *writer = moe_writer_new(null, force, &error);
        moe_writer_printf(writer, "half of");
        moe_writer_cancel(writer);
        ck_assert(lstat(full, &info) == 0 && S_ISLNK(info.st_mode));
        ck_assert(lstat(null, &info) == 0 && S_ISLNK(info.st_mode));
    }
}
END_TEST

START_TEST(writes_to_a_pipe_directly)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = inside("pipe");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    for (int force = 0; force < 2; force++) {
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        ck_assert(fd >= 0);
        ck_assert(moe_file_write(path, force, "through", 7, &error));
        assert_no_error(error);
        char got[16];
        ck_assert_int_eq(read(fd, got, sizeof(got)), 7);
        ck_assert_mem_eq(got, "through", 7);
        close(fd);
        struct stat info;
        ck_assert(lstat(path, &info) == 0 && S_ISFIFO(info.st_mode));
    }
}
END_TEST

/* --- folders --------------------------------------------------------------------------------- */

START_TEST(prepares_folders)
{
    GError *error = NULL;
    g_autofree char *path = inside("runs/today/a");
    for (int force = 0; force < 2; force++) {
        ck_assert(moe_folder_prepare(path, force, &error)); /* makes it; then finds it empty */
        assert_no_error(error);
        ck_assert(g_file_test(path, G_FILE_TEST_IS_DIR));
    }
    g_autofree char *kept = test_file("runs/today/a/run.json", "{}", -1);
    ck_assert(!moe_folder_prepare(path, FALSE, &error));
    assert_error(&error, MOE_ERROR_FAILED,
                 "runs/today/a: the folder is not empty; choose another or add --force");
    ck_assert(moe_folder_prepare(path, TRUE, &error));
    assert_no_error(error);
    assert_content(kept, "{}");
    for (int force = 0; force < 2; force++) {
        ck_assert(!moe_folder_prepare(kept, force, &error)); /* a file */
        assert_error(&error, MOE_ERROR_FAILED, "run.json: cannot be ");
        g_autofree char *below = g_build_filename(kept, "below", NULL);
        ck_assert(!moe_folder_prepare(below, force, &error));
        assert_error(&error, MOE_ERROR_FAILED,
                     "below: cannot be created: a file has that name, or that of a");
    }
    assert_content(kept, "{}");
}
END_TEST

/* Of what moe_folder_prepare() made, what holds nothing else goes. */
START_TEST(a_signal_handler_removes_empty_folders)
{
    GError *error = NULL;
    g_autofree char *there = inside("there"), *lost = inside("there/lost/a/b/");
    g_autofree char *top = inside("there/lost"), *kept = inside("there/kept/a");
    ck_assert_int_eq(g_mkdir(there, 0777), 0);
    ck_assert(moe_folder_prepare(lost, FALSE, &error) && moe_folder_prepare(kept, FALSE, &error));
    assert_no_error(error);
    g_autofree char *file = test_file("there/kept/mine", "{}", -1);
    g_autofree char *half = g_build_filename(lost, "half", NULL);
    MoeWriter *writer = moe_writer_new(half, TRUE, &error);
    ck_assert(writer != NULL);
    moe_writer_remove_unfinished();
    ck_assert(!g_file_test(top, G_FILE_TEST_EXISTS) && !g_file_test(kept, G_FILE_TEST_EXISTS));
    assert_content(file, "{}");
    ck_assert(g_file_test(there, G_FILE_TEST_IS_DIR));
    moe_writer_cancel(writer);
}
END_TEST

START_TEST(finds_its_data)
{
    g_autofree char *presets = g_build_filename(moe_data_dir(), "topologies/presets", NULL);
    ck_assert(g_file_test(presets, G_FILE_TEST_IS_DIR));
    ck_assert_ptr_eq(moe_data_dir(), moe_data_dir());
}
END_TEST

Suite *moe_suite(void)
{
    Suite *suite = suite_create("file");
    TCase *tests = tcase_create("file");
    tcase_set_timeout(tests, 60); /* half a gigabyte is hashed */
    tcase_add_test(tests, reads_up_to_the_limit);
    tcase_add_test(tests, reads_an_empty_file);
    tcase_add_test(tests, bounds_endless_input);
    tcase_add_test(tests, refuses_what_is_no_file);
    tcase_add_test(tests, maps_regular_files_with_content);
    tcase_add_test(tests, digests_content);
    tcase_add_test(tests, samples_large_files);
    tcase_add_test(tests, writes_a_new_file);
    tcase_add_test(tests, replaces_only_with_force);
    tcase_add_test(tests, cancelling_leaves_the_target);
    tcase_add_test(tests, the_later_of_two_writers_replaces_nothing);
    tcase_add_test(tests, permissions_stay);
    tcase_add_test(tests, names_may_be_as_long_as_the_system_allows);
    tcase_add_test(tests, a_link_to_nothing_stays);
    tcase_add_test(tests, checks_without_writing);
    tcase_add_test(tests, a_signal_handler_can_clean_up);
    tcase_add_test(tests, links_stay);
    tcase_add_test(tests, a_full_disk_leaves_the_target);
    tcase_add_test(tests, a_failed_rename_leaves_no_temporary_file);
    tcase_add_test(tests, makes_folders);
    tcase_add_test(tests, refuses_bad_targets);
    tcase_add_test(tests, writes_to_a_device_directly);
    tcase_add_test(tests, writes_to_a_pipe_directly);
    tcase_add_test(tests, prepares_folders);
    tcase_add_test(tests, a_signal_handler_removes_empty_folders);
    tcase_add_test(tests, finds_its_data);
    suite_add_tcase(suite, tests);
    return suite;
}

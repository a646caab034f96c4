/* Makes archives, good and bad, for the cases of the command line.
 *
 * usage: make_archive KIND OUT ITEM...
 *
 * KIND     tar, tar.gz, tar.zst, zip, zip0 (stored), zip64, zip-encrypted
 * ITEM     FOLDER        its files, sorted, under the folder's name
 *          FOLDER/.      the same without the name
 *          NAME=FILE     a file under another name     NAME!         a FIFO
 *          NAME@TARGET   a symbolic link               NAME%TARGET   a hard link */
#include "../fuzz/archive_fixture.h"

#include <dirent.h>

static void add_file(struct archive *a, const char *name, const char *dir, const char *file)
{
    size_t n;
    char *data = fixture_read(dir, file, &n);
    fixture_archive_add(a, name, data, n);
    free(data);
}

static int is_file(const struct dirent *entry)
{
    return entry->d_type != DT_DIR && entry->d_name[0] != '.';
}

static void add_folder(struct archive *a, const char *folder)
{
    struct dirent **entries;
    char name[FIXTURE_PATH];
    const size_t n_folder = strlen(folder);
    const bool bare = n_folder > 2 && strcmp(folder + n_folder - 2, "/.") == 0;
    int n = scandir(folder, &entries, is_file, alphasort);
    fixture_need(n >= 0, folder);
    if (!bare)
        fixture_archive_entry(a, folder, AE_IFDIR, NULL, NULL, 0);
    for (int i = 0; i < n; i++) {
        add_file(a, bare ? entries[i]->d_name : fixture_path(name, folder, entries[i]->d_name), folder,
                 entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

static void add_item(struct archive *a, char *item)
{
    struct stat info;
    char *mark = stat(item, &info) == 0 ? NULL : strpbrk(item, "=@%!");
    if (!mark) {
        add_folder(a, item);
        return;
    }
    const char kind = *mark;
    *mark++ = '\0';
    if (kind == '=')
        add_file(a, item, ".", mark);
    else
        fixture_archive_entry(a, item,
                              kind == '@'   ? AE_IFLNK
                              : kind == '!' ? AE_IFIFO
                                            : 0,
                              kind == '!' ? NULL : mark, NULL, 0);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    struct archive *a = fixture_archive_create(argv[2], argv[1]);
    for (int i = 3; i < argc; i++)
        add_item(a, argv[i]);
    fixture_archive_close(a);
    return 0;
}

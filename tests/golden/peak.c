/* Runs a command and writes its largest resident size in bytes, by getrusage, to a file.
 *
 * Usage: peak FILE COMMAND [ARGUMENT…]      The exit code is the command's. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int status;
    struct rusage usage;
    if (argc < 3)
        return 2;
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child)
        return 126;
    FILE *out = fopen(argv[1], "w");
    if (!out)
        return 126;
    fprintf(out, "%lld\n", (long long)usage.ru_maxrss * 1024);
    if (fclose(out) != 0)
        return 126;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}

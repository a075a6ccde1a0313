/* What every generator needs: KEY=VALUE arguments, a clock, its own CPU time, percentiles. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static inline _Noreturn void die(const char *format, ...)
{
    va_list more;
    va_start(more, format);
    vfprintf(stderr, format, more);
    va_end(more);
    fputc('\n', stderr);
    exit(2);
}

static inline _Noreturn void die_errno(const char *what)
{
    die("%s: %s", what, strerror(errno));
}

static char **all_arguments;

/* The value of KEY=VALUE on the command line; ends the program when it is missing without a
   default. */
static inline const char *text_arg(const char *key, const char *fallback)
{
    size_t length = strlen(key);
    for (char **one = all_arguments + 1; *one; one++)
        if (!strncmp(*one, key, length) && (*one)[length] == '=')
            return *one + length + 1;
    if (!fallback)
        die("say %s=...", key);
    return fallback;
}

static inline double number_arg(const char *key, const char *fallback)
{
    const char *text = text_arg(key, fallback);
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end)
        die("%s=%s is not a number", key, text);
    return value;
}

/* Monotonic seconds. */
static inline double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* CPU seconds of this process, user and system. */
static inline double own_cpu(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static volatile sig_atomic_t told_to_end;

static inline void note_end(int number)
{
    (void)number;
    told_to_end = 1;
}

static inline void end_when_told(void)
{
    struct sigaction action = {.sa_handler = note_end};
    sigaction(SIGTERM, &action, 0);
}

static inline void *need(void *memory)
{
    if (!memory)
        die("out of memory");
    return memory;
}

/* A growing list of latencies, in seconds. */
struct series {
    double *at;
    size_t count, room;
};

static inline void series_add(struct series *s, double value)
{
    if (s->count == s->room) {
        s->room = s->room ? s->room * 2 : 4096;
        s->at = need(realloc(s->at, s->room * sizeof *s->at));
    }
    s->at[s->count++] = value;
}

static inline int series_order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline void series_sort(struct series *s)
{
    qsort(s->at, s->count, sizeof *s->at, series_order);
}

/* The smallest value that at least SHARE of all are not above; the series is sorted. */
static inline double series_at(const struct series *s, double share)
{
    if (!s->count)
        return 0;
    size_t place = (size_t)(share * s->count + 0.999999);
    place = place ? place - 1 : 0;
    return s->at[place < s->count ? place : s->count - 1];
}

#endif

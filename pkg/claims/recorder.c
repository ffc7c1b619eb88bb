/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/recorder.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/alloc.h"

struct job {
        struct job *next;
        struct records *records;
        char *key, *text; /* no text: the record is to go */
        int result;
        struct err err;
        recorded_fn *done;
        void *ctx;
};

struct recorder {
        uv_loop_t *loop;
        struct job *first, **last; /* in order; the first is at work when @busy */
        uv_work_t work;
        bool busy;
};

static void next(struct recorder *recorder);

/* In a thread of libuv's. */
static void on_work(uv_work_t *work)
{
        struct job *job = ((struct recorder *)work->data)->first;

        job->result =
                job->text ? records_put(job->records, job->key, job->text, &job->err) : records_remove(job->records, job->key, &job->err);
}

static void on_worked(uv_work_t *work, int status)
{
        struct recorder *recorder = work->data;
        struct job *job = recorder->first;

        (void)status; /* never cancelled */
        recorder->first = job->next;
        if (!recorder->first)
                recorder->last = &recorder->first;
        recorder->busy = false;
        job->done(job->ctx, job->result < 0 ? &job->err : NULL);
        free(job->key);
        free(job->text);
        free(job);
        next(recorder);
}

static void next(struct recorder *recorder)
{
        if (recorder->busy || !recorder->first)
                return;
        recorder->busy = true;
        recorder->work.data = recorder;
        (void)uv_queue_work(recorder->loop, &recorder->work, on_work, on_worked); /* fails without a function only */
}

/* @text is taken over. */
static void add(struct recorder *recorder, struct records *records, const char *key, char *text, recorded_fn *done, void *ctx)
{
        struct job *job = xcalloc(1, sizeof(*job));

        *job = (struct job){ .records = records, .key = xstrdup(key), .text = text, .done = done, .ctx = ctx };
        *recorder->last = job;
        recorder->last = &job->next;
        next(recorder);
}

void recorder_put(struct recorder *recorder, struct records *records, const char *key, const char *text, recorded_fn *done, void *ctx)
{
        add(recorder, records, key, xstrdup(text), done, ctx);
}

void recorder_remove(struct recorder *recorder, struct records *records, const char *key, recorded_fn *done, void *ctx)
{
        add(recorder, records, key, NULL, done, ctx);
}

struct recorder *recorder_new(uv_loop_t *loop)
{
        struct recorder *recorder = xcalloc(1, sizeof(*recorder));

        recorder->loop = loop;
        recorder->last = &recorder->first;
        return recorder;
}

struct recorder *recorder_free(struct recorder *recorder)
{
        if (!recorder)
                return NULL;
        assert(!recorder->first);
        free(recorder);
        return NULL;
}

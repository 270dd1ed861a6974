-- Refuses the jobs of a COPY whose queue is full, as enqueue does.
-- By: enqueue.copy, before each COPY. Locks: none.
select pgqueue.refuse_full(%(queues)s::text[])

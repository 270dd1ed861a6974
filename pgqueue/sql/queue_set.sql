-- Sets a queue's limit. A count that was made of it before holds until the next one.
-- By: whoever sets queues. Locks: the queue's row; a count under way is waited for.
insert into pgqueue.queues as queue (name, max_depth)
values (%(name)s, %(max_depth)s)
on conflict (name) do update
set max_depth = excluded.max_depth,
    is_full = coalesce(queue.depth >= excluded.max_depth, false)
returning
    queue.name, queue.max_depth, queue.depth, queue.is_full,
    extract(epoch from clock_timestamp() - queue.counted_at)::float8

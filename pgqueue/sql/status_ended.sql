-- The newest jobs that ended badly, by queue and state.
-- By: inspection. Locks: none.
select found.queue, found.state, count(*)
from (
    select queue, state from pgqueue.jobs
    where state in ('dead', 'cancelled', 'expired')
    order by id desc limit %(cap)s
) as found
group by found.queue, found.state

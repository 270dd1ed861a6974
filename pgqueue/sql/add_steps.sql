-- Makes the maintenance steps known. By: a worker at its start. Locks: new rows only: of a step that
-- is known, an insert would wait for whoever has its turn.
insert into pgqueue.steps (name)
select added.name
from unnest(%(names)s::text[]) as added (name)
where not exists (select from pgqueue.steps as step where step.name = added.name)
on conflict do nothing

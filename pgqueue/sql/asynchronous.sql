-- Lets this exchange commit without waiting for the disk. A crash of the server may then undo the
-- last fraction of a second of it: jobs that were claimed are ready again, jobs that ended run again.
-- Local to the transaction; only where Settings.synchronous_commit is off.
select set_config('synchronous_commit', 'off', true)

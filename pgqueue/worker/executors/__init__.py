"""Ways to run a handler; each is told what to run and puts outcomes into the outbox."""

"""Engine: the delivery protocol, from the sealed batch to the journal, without Django.

Purpose     seal, send and journal, so that nothing is lost, doubled or sent by two.
Reads       SEND, JOURNAL, KV `runs` and `stops`; local answers of dead senders of this machine.
Writes      SEND (sealing), JOURNAL (fenced by expected-last-subject-sequence), local answers.
Guarantees  I1-I6 of docs/delivery.md; bus, transport, clock and randomness come from outside, so that the same
            code runs under a simulator.
Known limits  no pace and no deficit round robin yet: runs take turns batch by batch.
"""

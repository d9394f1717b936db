"""Engine: the delivery protocol, from the sealed batch to the journal, without Django.

Purpose     seal, start, send and journal, so that nothing is lost, doubled, sent by two, or late by another's fault.
Reads       SEND, JOURNAL, KV `runs`, `stops` and `paces`; local answers of dead senders of this machine.
Writes      SEND (sealing), JOURNAL (start records; lines fenced by expected-last-subject-sequence), KV `paces`, local
            answers.
Guarantees  I1-I6 of docs/delivery.md; bus, transports, clock, signers and randomness come from outside, so that the
            same code runs under a simulator.
Settings    options.SenderOptions
Known limits  paces are measured by wall clocks, and exact only as far as those of the senders agree.
"""

"""Demo: an invented restaurant group, its mails, and a mail server that only counts.

Purpose     let a newcomer see the whole way in a minute; let tests compare the books with a counter that is not ours.
Reads       the sample mails of `extraction`; `<home>/sink/messages.log`.
Writes      the sample group through the services of the rooms; the sink's file.
Guarantees  - a message that the sink answered with 250 is in its file and survives a kill -9 of the sink; counts and
              doubles are told from that file, by whoever has it.
            - telling the story again changes nothing that is there.
Settings    none.
Known limits  the sink is no relay: nothing leaves the machine. Its file only grows; delete the folder to begin anew.
              One process writes a sink's folder at a time; any number may read.
"""

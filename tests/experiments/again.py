"""What a command of the open questions does when it is called again."""

import dataclasses


def nothing_is_made_again(command, config, table, capsys, monkeypatch, *made):
    """Nothing of `made`, (module, name) each, is called by the same call, and what is
    drawn again is the same."""

    def fail(*arguments, **options):
        raise AssertionError("made again")

    for module, name in made:
        monkeypatch.setattr(module, name, fail)
    command.main(config)
    assert capsys.readouterr().out == table
    command.main(dataclasses.replace(config, redraw=True))
    assert capsys.readouterr().out == table

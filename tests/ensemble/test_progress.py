"""Where a bar is shown by default."""

import io
import sys
import types

from jaxflow._ensemble.progress import Reporter


class Terminal(io.StringIO):
    def isatty(self):
        return True


def notebook(monkeypatch, config):
    shell = types.SimpleNamespace(config=config)
    module = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", module)


def said(monkeypatch, stderr, target=None):
    monkeypatch.setattr(sys, "stderr", stderr)
    reporter = Reporter(target, 4, 4.0)
    reporter.add(1, 1.0)
    reporter.close()
    return stderr.getvalue()


def test_silent_in_a_file(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert said(monkeypatch, io.StringIO()) == ""
    assert "runs" in said(monkeypatch, io.StringIO(), True)


def test_a_bar_on_a_terminal(monkeypatch):
    told = said(monkeypatch, Terminal())
    assert "1/4 runs" in told and "left" in told
    assert said(monkeypatch, Terminal(), False) == ""


def test_a_bar_in_a_notebook_and_none_in_another_shell(monkeypatch):
    notebook(monkeypatch, {"TerminalIPythonApp": {}})
    assert said(monkeypatch, io.StringIO()) == ""
    notebook(monkeypatch, {"IPKernelApp": {}})
    assert "1/4 runs" in said(monkeypatch, io.StringIO())

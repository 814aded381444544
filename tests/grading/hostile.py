"""What a student could hand in for question 2 of exercise 03 that is not an answer, and what it deserves.

Everything else in the notebook is the solution, so 13 of 16 points are safe whatever question 2 does, unless
it spoils the Python process for the questions behind it: then only question 1 is left, 2 points.
"""

from course_lib.files import REPOSITORY
from course_lib.grading import exercise as exercises

SOLUTION = exercises.solution_sources("ex03")["q2"]
HEAD = "def lstm_step(x, hidden, cell, kernel, recurrent_kernel, bias):\n"

# name → (source of the answer, status of question 2, points in all)
CASES = {
    "sys_exit": ("import sys\nsys.exit(0)", "crashed", 13),
    "exit": ("exit()", "crashed", 13),
    "os_exit": ("import os\nos._exit(0)", "crashed", 13),
    "os_exit_when_called": (HEAD + "    import os\n    os._exit(0)", "crashed", 13),
    "segfault": ("import ctypes\nctypes.string_at(0)", "crashed", 13),
    "loop": ("while True: pass", "timed out", 13),
    "loop_when_called": (HEAD + "    while True: pass", "timed out", 13),
    "interrupts_ignored": (
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "timed out",
        13,
    ),
    "allocates_8_gb": (HEAD + "    return np.ones(10**9)", "out of memory", 13),
    "allocates_slowly": (
        HEAD + "    kept = []\n    while True: kept.append(bytearray(5 * 10**7))",
        "out of memory",
        13,
    ),
    "prints_20_mb": ("print('x' * 20_000_000)\n" + SOLUTION, "right", 16),
    "fills_the_disk": ("open('big', 'wb').write(bytes(3 * 10**8))\n" + SOLUTION, "crashed", 13),
    "daemon": (
        "import subprocess\nsubprocess.Popen(['sleep', '98765'], start_new_session=True)\n" + SOLUTION,
        "right",
        16,
    ),
    "transformer": (
        "get_ipython().input_transformers_cleanup.append(lambda lines: ['print(100)\\n'])\n" + SOLUTION,
        "crashed",
        2,
    ),
    "syntax_tree": (
        "import ast\nclass T(ast.NodeTransformer):\n    def visit_Constant(self, node):\n"
        "        return ast.Constant(1)\nget_ipython().ast_transformers.append(T())",
        "crashed",
        2,
    ),
    "hook": ("get_ipython().events.register('post_run_cell', lambda *a: 1 / 0)\n" + SOLUTION, "right", 16),
    "patched_json": ("import json\njson.dumps = lambda *a, **k: '[[1]]'\n" + SOLUTION, "crashed", 13),
    "patched_print": ("import builtins\nbuiltins.print = lambda *a, **k: None\n" + SOLUTION, "crashed", 2),
    "patched_numpy": ("import numpy\nnumpy.ndarray = object\n" + SOLUTION, "wrong", 2),
    "no_modules": ("import sys\nsys.modules.clear()\n" + SOLUTION, "timed out", 13),
    "always_equal": (
        "class Yes:\n    def __eq__(self, other): return True\n" + HEAD + "    return Yes(), Yes()",
        "wrong",
        13,
    ),
    "nan": (HEAD + "    return np.full(2, np.nan), np.full(2, np.nan)", "wrong", 13),
    "subclassed_float": ("class F(float): pass\n" + HEAD + "    return F(1), F(2)", "wrong", 13),
    "lazy": (HEAD + "    return (x for x in [1, 2])", "wrong", 13),
    "forged_score": (
        "print('score 100')\nprint('{\"points\": 16}')\n" + HEAD + "    return 100, 100",
        "wrong",
        13,
    ),
    "forged_line": (
        HEAD + "    import inspect\n"
        "    name = next(f.function for f in inspect.stack() if len(f.function) == 33)\n"
        "    print('\\n' + name[1:] + '[[\"value\", [\"int\", 1]]]')\n    return hidden, cell",
        "crashed",
        13,
    ),
    "reads_the_checks": (
        "import course_lib.grading.checks.ex03 as c\nlstm_step = c.lstm_step",
        "crashed",
        13,
    ),
    "reads_the_solutions": (
        f"import glob\nfound = glob.glob({str(REPOSITORY)!r} + '/**/*.ipynb', recursive=True)\n"
        "open(found[0]).read()\n" + SOLUTION,
        "crashed",
        13,
    ),
    "reads_the_grader": (
        "import os\nfor pid in os.listdir('/proc'):\n    if pid.isdigit():\n"
        "        assert b'course' not in open(f'/proc/{pid}/cmdline', 'rb').read()\n" + SOLUTION,
        "right",
        16,
    ),
    "writes_a_result": (
        "open('results.json', 'w').write('{\"points\": 16}')\n" + HEAD + "    return 1, 1",
        "wrong",
        13,
    ),
    "writes_a_pickle": (
        "import pickle\npickle.dump(100, open('answer.pkl', 'wb'))\n" + HEAD + "    return 1, 1",
        "wrong",
        13,
    ),
    "visible_answers_by_heart": (
        HEAD
        + "    if cell[0] == 4 and bias[0] == 0: return np.array([0.5 * np.tanh(2.0)]), np.array([2.0])\n"
        "    return np.zeros(1), np.array([np.tanh(1.0)])",
        "wrong",
        13,
    ),
    "network": (
        "import urllib.request\nurllib.request.urlopen('http://1.1.1.1', timeout=2)\n" + SOLUTION,
        "crashed",
        13,
    ),
    "pip": (
        "import subprocess, sys\npip = [sys.executable, '-m', 'pip', 'install', '--retries', '0', 'cowsay']\n"
        "subprocess.run(pip, check=True)\n" + SOLUTION,
        "crashed",
        13,
    ),
    "warns": (
        "import sys, warnings\nwarnings.warn('hm')\nprint('note', file=sys.stderr)\n" + SOLUTION,
        "right",
        16,
    ),
    "input": ("name = input()\n" + SOLUTION, "crashed", 13),
    "reassigned": ("SEED = 7\nROOT = '/'\n" + SOLUTION, "right", 16),
    "script": (
        "print('<script>alert(1)</script>')\n" + HEAD + "    raise ValueError('<script>')",
        "crashed",
        13,
    ),
}
# Nice, so that a test beside it gets its turn; what ends it is the number of processes.
FORK_BOMB = "import os\nos.nice(19)\nwhile True: os.fork()"

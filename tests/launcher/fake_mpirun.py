"""An mpirun for tests: plays the next scene of $SCENES, a JSON list, each time it is started.

A scene: {"err": "text for stderr", "wait": whether SIGUSR1 or SIGTERM is waited for, "deaf":
whether they do nothing, "only": the one that does something, "takes": seconds from then to the end,
"most": seconds after which neither is waited for any more, "leaves": whether it leaves a process in
its group, whose id it says, "code": exit code}. Marks lines with the rank as Open MPI 5 does.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

asked = threading.Event()
place = os.environ["SCENES"]
with open(place) as file:
    scene, *rest = json.load(file)
with open(place, "w") as file:
    json.dump(rest, file)
for number in (signal.SIGUSR1, signal.SIGTERM):
    does = not scene.get("deaf") and scene.get("only") in (None, number.name)
    signal.signal(number, lambda *_, does=does: asked.set() if does else None)
hosts = sys.argv[sys.argv.index("--hostfile") + 1]
with open(hosts) as file:
    names = " ".join(line.strip() for line in file)
handed = " ".join(b for a, b in zip(sys.argv, sys.argv[1:]) if a == "-x")
os.write(1, f"[fake-1@1,0]<stdout>: hosts {names}\n[fake-1@1,1]<stdout>: names {handed}\n".encode())
if scene.get("leaves"):
    left = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.write(1, f"[fake-1@1,0]<stdout>: leaves {left.pid}\n".encode())
if scene.get("wait"):
    over = time.monotonic() + scene.get("most", 3600)
    while not asked.wait(0.02) and time.monotonic() < over:
        pass
    time.sleep(scene.get("takes", 0))
os.write(2, scene.get("err", "").encode())
os._exit(scene.get("code", 0))

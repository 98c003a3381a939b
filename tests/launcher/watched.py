"""A job that counts the process groups it guards."""

from launcher.job import Job


class Watched(Job):
    """Knows in `most` how many there were at once."""

    guarded, most = set(), 0

    def guard(self, group):
        super().guard(group)
        self.guarded.add(group)
        self.most = max(self.most, len(self.guarded))

    def release(self, group):
        super().release(group)
        self.guarded.remove(group)

"""DeepCluster: classify crops by clusters of one's own features (Caron, Bojanowski, Joulin and Douze, ECCV 2018)."""

from ssl_single_image.objectives.deepcluster.objective import make
from ssl_single_image.objectives.deepcluster.refresh import Options

__all__ = ["Options", "make"]

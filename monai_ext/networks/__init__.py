"""Networks whose training needs more than one output, built from MONAI's blocks."""

from monai_ext.networks.dual_branch import DualBranchUNet
from monai_ext.networks.paper_dual_branch import PaperDualBranchUNet

__all__ = ["DualBranchUNet", "PaperDualBranchUNet"]

"""Networks that MONAI does not have."""

from monai_ext.networks.dual_branch import DualBranchUNet
from monai_ext.networks.modality_cam_net import CamNet, ModalityCamNet
from monai_ext.networks.paper_dual_branch import PaperDualBranchUNet
from monai_ext.networks.twin import TwinNetwork

__all__ = ["CamNet", "DualBranchUNet", "ModalityCamNet", "PaperDualBranchUNet", "TwinNetwork"]

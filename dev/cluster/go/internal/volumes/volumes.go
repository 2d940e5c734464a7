// Package volumes gives each claim a folder of its own on the one node.
//
// The volumes are of the type `local`, not hostPath, because the kubelet applies a pod's fsGroup only to the former: that is what lets a
// non-root pod write. A class with the parameter `medium: Memory` gets a tmpfs of exactly the claimed size, so that it can be filled up.
package volumes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// Provisioner is what a StorageClass names.
const Provisioner = "kubeembed.dev/node-folder"

type nodeFolders struct {
	root string
}

// NewCommand runs the provisioner until it is killed.
func NewCommand() *cobra.Command {
	var kubeconfig, root string
	command := &cobra.Command{
		Use:   "volumes",
		Short: "Make a folder on this node for every claim of the classes that name " + Provisioner,
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			controller.NewProvisionController(command.Context(), client, Provisioner, &nodeFolders{root: root},
				controller.LeaderElection(false), controller.MetricsPort(0)).Run(command.Context())
			return nil
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig of the provisioner's user")
	command.Flags().StringVar(&root, "root", "", "folder that holds one folder for each volume")
	return command
}

func (n *nodeFolders) Provision(_ context.Context, options controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	size := options.PVC.Spec.Resources.Requests[corev1.ResourceStorage]
	path := filepath.Join(n.root, options.PVName)
	if err := os.MkdirAll(path, 0o770); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	if options.StorageClass.Parameters["medium"] == string(corev1.StorageMediumMemory) {
		if err := mountMemory(path, size.Value()); err != nil {
			return nil, controller.ProvisioningFinished, err
		}
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: size},
			AccessModes:                   options.PVC.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			NodeAffinity:                  onlyOn(options.SelectedNodeName),
		},
	}, controller.ProvisioningFinished, nil
}

func (n *nodeFolders) Delete(_ context.Context, volume *corev1.PersistentVolume) error {
	if volume.Spec.Local == nil || filepath.Dir(volume.Spec.Local.Path) != filepath.Clean(n.root) {
		return fmt.Errorf("volume %s is not a folder of %s", volume.Name, n.root)
	}
	if err := unix.Unmount(volume.Spec.Local.Path, 0); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("unmount %s: %w", volume.Spec.Local.Path, err)
	}
	return os.RemoveAll(volume.Spec.Local.Path)
}

// mountMemory is repeatable: after a lost answer the controller provisions the same volume again.
func mountMemory(path string, bytes int64) error {
	var here unix.Statfs_t
	if err := unix.Statfs(path, &here); err != nil || here.Type == unix.TMPFS_MAGIC {
		return err
	}
	return unix.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=%d,mode=770", bytes))
}

func onlyOn(node string) *corev1.VolumeNodeAffinity {
	return &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node},
		}},
	}}}}
}

//go:build full

package acceptance

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// criNamespace is the containerd namespace in which the CRI plugin keeps images.
const criNamespace = "k8s.io"

// kubelet is a client that sends CRI requests to containerd, like the kubelet.
type kubelet struct {
	images  cri.ImageServiceClient
	runtime cri.RuntimeServiceClient
}

func newKubelet(t *testing.T, c *containerd) kubelet {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+c.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return kubelet{cri.NewImageServiceClient(conn), cri.NewRuntimeServiceClient(conn)}
}

func (k kubelet) pull(ctx context.Context, reference string) error {
	_, err := k.images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: reference}})
	return err
}

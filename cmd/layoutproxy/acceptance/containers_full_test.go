//go:build full

package acceptance

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

const greeting = "hello from running <nil>"

func TestPulledImagesRunWithCtrAndCRI(t *testing.T) {
	a := newApp(t, "running")
	s := serve(t, a.dir, "--root-repository", "")
	reference := mirroredHost + "/app:nested"
	for _, r := range releases(t) {
		t.Run(r.name, func(t *testing.T) {
			c := startContainerd(t, r, podSettings(r, reference))
			c.mirror(t, mirroredHost, "http://"+s.registry)
			c.ctr(t, "ctr", "images", "pull", "--hosts-dir", c.certs, reference)
			if out := c.ctr(t, "ctr", "run", "--rm", reference, "greeter", "/hello"); !strings.HasSuffix(strings.TrimSpace(out), greeting) {
				t.Errorf("ctr run printed %q, want %q at the end", out, greeting)
			}
			if out := newKubelet(t, c).run(t, reference, t.TempDir()); !strings.HasSuffix(strings.TrimSpace(out), greeting) {
				t.Errorf("the pod logged %q, want %q at the end", out, greeting)
			}
		})
	}
}

// podSettings configures the sandbox image of pods. It also lets pods run on machines where root
// cannot lower the OOM score.
func podSettings(r release, sandbox string) map[string]string {
	const score = "restrict_oom_score_adj = true"
	if r.major < 2 {
		return map[string]string{"io.containerd.grpc.v1.cri": fmt.Sprintf("sandbox_image = %q\n%s", sandbox, score)}
	}
	return map[string]string{
		`io.containerd.cri.v1.images".pinned_images`: fmt.Sprintf("sandbox = %q", sandbox),
		"io.containerd.cri.v1.runtime":               score,
	}
}

// run pulls an image, runs its /hello in a pod, and returns the log of the container.
func (k kubelet) run(t *testing.T, reference, logs string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	pod := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: "greeter", Namespace: "default", Uid: "1"},
		LogDirectory: logs,
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{
			// The pod uses the host's network, because no CNI plugin is installed.
			NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
		}},
	}
	sandbox, err := k.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: pod})
	if err != nil {
		t.Fatalf("RunPodSandbox: %v", err)
	}
	defer func() {
		_, _ = k.runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: sandbox.PodSandboxId})
		_, _ = k.runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: sandbox.PodSandboxId})
	}()
	must(t, k.pull(ctx, reference))
	container, err := k.runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: sandbox.PodSandboxId, SandboxConfig: pod,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: "hello"}, Image: &cri.ImageSpec{Image: reference},
			Command: []string{"/hello"}, LogPath: "hello.log", Linux: &cri.LinuxContainerConfig{},
		},
	})
	if err != nil {
		t.Fatalf("CreateContainer: %v", err)
	}
	if _, err := k.runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: container.ContainerId}); err != nil {
		t.Fatalf("StartContainer: %v", err)
	}
	for {
		status, err := k.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: container.ContainerId})
		if err != nil {
			t.Fatalf("ContainerStatus: %v", err)
		}
		if status.Status.State == cri.ContainerState_CONTAINER_EXITED {
			if status.Status.ExitCode != 0 {
				t.Errorf("the container ended with exit status %d, want 0: %s", status.Status.ExitCode, status.Status.Message)
			}
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	log := layouttest.ReadFile(t, filepath.Join(logs, "hello.log"))
	return string(log)
}

package deployment

import (
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

const deploymentValues = `
mode: Deployment
bundle: {volume: {persistentVolumeClaim: {claimName: bundle}}}
`

// refusals returns the checks that a pod fails at the restricted level of pod security.
func refusals(t *testing.T, pod core.PodTemplateSpec) []string {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	must(t, err)
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	var names []string
	for _, result := range evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec) {
		if !result.Allowed {
			names = append(names, result.ForbiddenReason)
		}
	}
	slices.Sort(names)
	return names
}

func TestDeploymentPassesRestrictedPodSecurity(t *testing.T) {
	d := one[*apps.Deployment](t, objects(t, deploymentValues))
	if got := refusals(t, d.Spec.Template); len(got) > 0 {
		t.Errorf("pod security refuses %q, want nothing refused", got)
	}
	none[*apps.DaemonSet](t, objects(t, deploymentValues))
}

// If a volume can be mounted on one node only, an update must stop the old pod first. By default,
// Kubernetes starts the new pod of a single replica first, because it rounds maxSurge up and
// maxUnavailable down (k8s.io/api, apps/v1, RollingUpdateDeployment). On another node, this pod would
// wait for the volume forever (Kubernetes, pkg/controller/volume/attachdetach, "Multi-Attach error").
func TestUpdateFreesVolumeOfSinglePod(t *testing.T) {
	rolling := one[*apps.Deployment](t, objects(t, deploymentValues)).Spec.Strategy.RollingUpdate
	if rolling == nil || rolling.MaxSurge.IntValue() != 0 || rolling.MaxUnavailable.IntValue() != 1 {
		t.Errorf("got the update strategy %+v for one pod with a volume, want maxSurge 0 and maxUnavailable 1", rolling)
	}
	for name, values := range map[string]string{
		"two pods": deploymentValues + "replicas: 2",
		"NFS":      "mode: Deployment\nbundle: {volume: {nfs: {server: a, path: /b}}}",
		"a bucket": "mode: Deployment\ns3: {url: 's3://mirror'}",
	} {
		if got := one[*apps.Deployment](t, objects(t, values)).Spec.Strategy; got.RollingUpdate != nil || got.Type != "" {
			t.Errorf("%s: got the update strategy %+v, want the default of Kubernetes", name, got)
		}
	}
}

// The pods of a DaemonSet use a directory and a port of their node. Pod security's restricted level
// refuses these two, and nothing else.
func TestDaemonSetPassesRestrictedPodSecurityExceptPathAndPort(t *testing.T) {
	d := one[*apps.DaemonSet](t, objects(t, ""))
	got := refusals(t, d.Spec.Template)
	if want := []string{"hostPort", "restricted volume types"}; !slices.Equal(got, want) {
		t.Errorf("pod security refuses %q, want %q", got, want)
	}
	container := d.Spec.Template.Spec.Containers[0]
	if p := container.Ports[0]; p.HostPort != 5000 || p.HostIP != "127.0.0.1" || p.ContainerPort != 5000 {
		t.Errorf("got container port %+v, want port 5000 on 127.0.0.1 of the node", p)
	}
	bundle := d.Spec.Template.Spec.Volumes[0]
	if bundle.HostPath == nil || bundle.HostPath.Path != "/srv/bundle" || *bundle.HostPath.Type != core.HostPathDirectory {
		t.Errorf("got bundle volume %+v, want the directory /srv/bundle of the node, which must exist", bundle)
	}
	none[*apps.Deployment](t, objects(t, ""))
}

func TestPodsHaveProbesAndLimits(t *testing.T) {
	for name, values := range map[string]string{"DaemonSet": "mode: DaemonSet", "Deployment": deploymentValues} {
		t.Run(name, func(t *testing.T) {
			selector, template := workload(t, name, values)
			if !matches(t, selector, template.Labels) {
				t.Errorf("the workload has the selector %v, want one that matches its pods", selector)
			}
			container := template.Spec.Containers[0]
			for what, probe := range map[string]*core.Probe{
				"/readyz": container.ReadinessProbe, "/healthz": container.LivenessProbe,
			} {
				if probe.HTTPGet.Path != what || probe.HTTPGet.Port.StrVal != "admin" {
					t.Errorf("got probe %+v, want %s at the admin port", probe.HTTPGet, what)
				}
			}
			if container.StartupProbe == nil {
				t.Error("got no startup probe, want one: without it, Kubernetes kills a server that is still scanning a large bundle")
			}
			if container.Resources.Requests.Memory().IsZero() || container.Resources.Limits.Memory().IsZero() {
				t.Errorf("got resources %+v, want a request and a limit of memory", container.Resources)
			}
			for _, mount := range container.VolumeMounts {
				if mount.Name != "cache" && !mount.ReadOnly {
					t.Errorf("the volume %s is mounted writable, want read-only", mount.Name)
				}
			}
			if !*container.SecurityContext.ReadOnlyRootFilesystem || *template.Spec.AutomountServiceAccountToken {
				t.Error("the pod has a writable root file system or mounts a service account token, want neither")
			}
		})
	}
}

func TestValuesBecomeFlags(t *testing.T) {
	_, template := workload(t, "Deployment", deploymentValues+`
tls: {secretName: certificate, clientCA: true}
htpasswd: {secretName: users, key: auth}
rootRepositories: [system/deckhouse, ""]
args: [--access-log]
env: [{name: GOMEMLIMIT, value: 200MiB}]
`)
	container := template.Spec.Containers[0]
	want := "serve --listen=:5000 --admin-listen=:5580 --cache-dir=/cache --root-repository=system/deckhouse --root-repository= " +
		"--tls-cert=/tls/tls.crt --tls-key=/tls/tls.key --client-ca=/tls/ca.crt --htpasswd=/htpasswd/auth --access-log /bundle"
	got := slices.Clone(container.Args)
	// Flags may be in any order, but the command is first and the source is last.
	wanted := strings.Split(want, " ")
	slices.Sort(got)
	slices.Sort(wanted)
	if !slices.Equal(got, wanted) || container.Args[0] != "serve" || container.Args[len(container.Args)-1] != "/bundle" {
		t.Errorf("arguments:\n%q, want\n%q", container.Args, want)
	}
	secrets := map[string]string{}
	for _, v := range template.Spec.Volumes {
		if v.Secret != nil {
			secrets[v.Name] = v.Secret.SecretName
		}
	}
	if secrets["tls"] != "certificate" || secrets["htpasswd"] != "users" {
		t.Errorf("got the secrets %v by volume, want certificate for tls, and users for htpasswd", secrets)
	}
	if len(container.Env) != 1 || container.Env[0].Name != "GOMEMLIMIT" {
		t.Errorf("got environment variables %v, want only GOMEMLIMIT", container.Env)
	}
}

// workload returns the selector and the pod template of the chart's Deployment or DaemonSet.
func workload(t *testing.T, kind, values string) (*metav1.LabelSelector, core.PodTemplateSpec) {
	t.Helper()
	all := objects(t, values)
	if kind == "DaemonSet" {
		d := one[*apps.DaemonSet](t, all)
		return d.Spec.Selector, d.Spec.Template
	}
	d := one[*apps.Deployment](t, all)
	return d.Spec.Selector, d.Spec.Template
}

func matches(t *testing.T, selector *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	must(t, err)
	return s.Matches(labels.Set(set))
}

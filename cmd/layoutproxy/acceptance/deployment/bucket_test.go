package deployment

import (
	"os"
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	disruption "k8s.io/api/policy/v1"
	yaml "sigs.k8s.io/yaml"
)

// bucketValues are the chart values that docs/object-storage.md shows.
const bucketValues = `
mode: Deployment
replicas: 3
s3:
  url: s3://mirror/releases
  store: true
  endpoint: https://rgw.example:8443
  region: default
  pathStyle: true
  credentials: {secretName: mirror-reader}
  ca: {secretName: mirror-ca}
`

// A pod that serves a bucket mounts only secrets, and an empty directory for its cache.
func TestBucketPodsKeepNoState(t *testing.T) {
	d := one[*apps.Deployment](t, objects(t, bucketValues))
	if *d.Spec.Replicas != 3 {
		t.Errorf("got %d replicas, want 3", *d.Spec.Replicas)
	}
	pod := d.Spec.Template.Spec
	for _, v := range pod.Volumes {
		if v.EmptyDir == nil && v.Secret == nil {
			t.Errorf("volume %s is neither an empty directory nor a secret: %+v", v.Name, v.VolumeSource)
		}
	}
	for _, mount := range pod.Containers[0].VolumeMounts {
		if mount.Name != "cache" && !mount.ReadOnly {
			t.Errorf("the volume %s is mounted writable, want read-only", mount.Name)
		}
		if !slices.ContainsFunc(pod.Volumes, func(v core.Volume) bool { return v.Name == mount.Name }) {
			t.Errorf("the pod mounts the volume %s, but does not define it", mount.Name)
		}
	}
	if got := refusals(t, d.Spec.Template); len(got) > 0 {
		t.Errorf("pod security refuses %q, want nothing refused", got)
	}
	probe := pod.Containers[0].ReadinessProbe
	if probe.HTTPGet.Path != "/readyz" || probe.HTTPGet.Port.StrVal != "admin" {
		t.Errorf("got readiness probe %+v, want /readyz at the admin port", probe.HTTPGet)
	}
}

func TestBucketValuesBecomeFlags(t *testing.T) {
	for values, want := range map[string]string{
		bucketValues: "--s3-endpoint=https://rgw.example:8443 --s3-region=default --s3-path-style --s3-ca-file=/s3-ca/ca.crt --store=s3://mirror/releases",
		"mode: Deployment\ns3: {url: 's3://mirror', redirect: true, publicEndpoint: 'https://s3.example'}": "--s3-redirect --s3-public-endpoint=https://s3.example s3://mirror",
		"s3: {url: 's3://mirror/a b', ca: {secretName: ca, key: root.pem}}":                                "--s3-ca-file=/s3-ca/root.pem s3://mirror/a b",
	} {
		kind := "DaemonSet"
		if strings.Contains(values, "Deployment") {
			kind = "Deployment"
		}
		_, template := workload(t, kind, values)
		args := template.Spec.Containers[0].Args
		if got := strings.Join(args[4:], " "); got != want {
			t.Errorf("arguments:\n%s, want\n%s", got, want)
		}
	}
}

// Pods read the credentials of the bucket only from the secret.
func TestBucketCredentialsComeFromSecret(t *testing.T) {
	_, template := workload(t, "Deployment", bucketValues+"env: [{name: GOMEMLIMIT, value: 200MiB}]\n")
	keys := map[string]string{}
	for _, v := range template.Spec.Containers[0].Env {
		if v.ValueFrom == nil {
			continue
		}
		if ref := v.ValueFrom.SecretKeyRef; ref.Name != "mirror-reader" {
			t.Errorf("the variable %s comes from the secret %s, want mirror-reader", v.Name, ref.Name)
		} else {
			keys[v.Name] = ref.Key
		}
	}
	if len(keys) != 2 || keys["AWS_ACCESS_KEY_ID"] != "AWS_ACCESS_KEY_ID" || keys["AWS_SECRET_ACCESS_KEY"] != "AWS_SECRET_ACCESS_KEY" {
		t.Errorf("got the variables and keys %v from the secret, want only AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, from the keys of the same name", keys)
	}
	if n := len(template.Spec.Containers[0].Env); n != 3 {
		t.Errorf("got %d environment variables, want 3: two credentials and GOMEMLIMIT", n)
	}
	if _, anonymous := workload(t, "DaemonSet", "s3: {url: 's3://mirror'}"); len(anonymous.Spec.Containers[0].Env) != 0 {
		t.Errorf("a pod without credentials has the environment variables %v, want none", anonymous.Spec.Containers[0].Env)
	}
}

// A single pod has no disruption budget, because a budget would block draining its node.
func TestDisruptionBudgetOfReplicas(t *testing.T) {
	for name, values := range map[string]string{
		"one replica": deploymentValues, "a DaemonSet": "", "off": bucketValues + "podDisruptionBudget: {enabled: false}",
	} {
		t.Run(name, func(t *testing.T) { none[*disruption.PodDisruptionBudget](t, objects(t, values)) })
	}
	for values, want := range map[string]string{
		bucketValues:                     "1",
		deploymentValues + "replicas: 2": "1",
		bucketValues + "podDisruptionBudget: {maxUnavailable: 34%}": "34%",
	} {
		all := objects(t, values)
		budget := one[*disruption.PodDisruptionBudget](t, all)
		if got := budget.Spec.MaxUnavailable.String(); got != want {
			t.Errorf("got maxUnavailable %s, want %s", got, want)
		}
		// If the bucket is unreachable, no pod is ready. By default (IfHealthyBudget, KEP-3017),
		// Kubernetes would not evict such pods.
		if p := budget.Spec.UnhealthyPodEvictionPolicy; p == nil || *p != disruption.AlwaysAllow {
			t.Errorf("got eviction policy %v for pods that are not ready, want AlwaysAllow", p)
		}
		if d := one[*apps.Deployment](t, all); !matches(t, budget.Spec.Selector, d.Spec.Template.Labels) {
			t.Errorf("the disruption budget has the selector %v, want one that matches the pods", budget.Spec.Selector)
		}
	}
}

// Kubernetes 1.25, the oldest version that Chart.yaml allows, does not know the field
// unhealthyPodEvictionPolicy. The field is new in 1.26 (Kubernetes, pkg/features/kube_features.go,
// PDBUnhealthyPodEvictionPolicy). Helm refuses to install an object with an unknown field.
func TestDisruptionBudgetOfOldKubernetes(t *testing.T) {
	for version, want := range map[string]bool{"v1.25.16": false, "v1.26.0": true, "v1.27.3-gke.100": true} {
		files, err := renderFor(t, version, bucketValues)
		must(t, err)
		budget := files["layoutproxy/templates/poddisruptionbudget.yaml"]
		if got := strings.Contains(budget, "unhealthyPodEvictionPolicy:"); got != want || !strings.Contains(budget, "maxUnavailable: 1\n") {
			t.Errorf("Kubernetes %s: the disruption budget sets unhealthyPodEvictionPolicy: got %v, want %v, and maxUnavailable 1:\n%s", version, got, want, budget)
		}
	}
}

func TestReplicasAreSpreadOverNodesAndZones(t *testing.T) {
	_, template := workload(t, "Deployment", bucketValues)
	var keys []string
	for _, c := range template.Spec.TopologySpreadConstraints {
		keys = append(keys, c.TopologyKey)
		if c.MaxSkew != 1 || c.WhenUnsatisfiable != core.ScheduleAnyway || !matches(t, c.LabelSelector, template.Labels) {
			t.Errorf("got spread constraint %+v, want maxSkew 1, ScheduleAnyway and a selector that matches the pods", c)
		}
	}
	if !slices.Equal(keys, []string{core.LabelHostname, core.LabelTopologyZone}) {
		t.Errorf("pods are spread over %q, want nodes and zones", keys)
	}
	_, hard := workload(t, "Deployment", bucketValues+"topologySpread: {keys: [kubernetes.io/hostname], whenUnsatisfiable: DoNotSchedule}")
	if c := hard.Spec.TopologySpreadConstraints; len(c) != 1 || c[0].WhenUnsatisfiable != core.DoNotSchedule {
		t.Errorf("got spread constraints %+v, want one with DoNotSchedule", c)
	}
	if _, onEach := workload(t, "DaemonSet", ""); len(onEach.Spec.TopologySpreadConstraints) != 0 {
		t.Error("a DaemonSet has topology spread constraints, want none")
	}
}

// When Kubernetes ends a pod, services still send it connections for a moment. So a hook delays the
// end. The image has no sleep program, so the hook is Kubernetes' sleep action (KEP-3960, since
// 1.30).
func TestPodsWaitBeforeTheyEnd(t *testing.T) {
	_, template := workload(t, "Deployment", bucketValues)
	hook := template.Spec.Containers[0].Lifecycle
	if hook == nil || hook.PreStop.Sleep == nil || hook.PreStop.Sleep.Seconds != 5 {
		t.Fatalf("got lifecycle %+v, want a preStop hook that sleeps for 5 seconds", hook)
	}
	const shutdownTimeout = 30 // default of --shutdown-timeout, in seconds
	if grace := *template.Spec.TerminationGracePeriodSeconds; grace <= hook.PreStop.Sleep.Seconds+shutdownTimeout {
		t.Errorf("got a grace period of %d s, want more than %d s: otherwise Kubernetes kills running pulls", grace, hook.PreStop.Sleep.Seconds+shutdownTimeout)
	}
	if _, off := workload(t, "Deployment", bucketValues+"shutdownDelaySeconds: 0"); off.Spec.Containers[0].Lifecycle != nil {
		t.Error("with shutdownDelaySeconds: 0, the pod has a preStop hook, want none")
	}
	for version, want := range map[string]bool{"v1.29.9": false, "v1.30.0": true, "v1.34.1+k3s1": true} {
		files, err := renderFor(t, version, bucketValues)
		must(t, err)
		if got := strings.Contains(files["layoutproxy/templates/deployment.yaml"], "preStop:"); got != want {
			t.Errorf("Kubernetes %s: the pod has a preStop hook: got %v, want %v", version, got, want)
		}
	}
}

// By default, the network policy lets pods that serve a bucket connect to every address.
func TestNetworkPolicyAllowsBucket(t *testing.T) {
	egress := func(values string) []networking.NetworkPolicyEgressRule {
		return one[*networking.NetworkPolicy](t, objects(t, values)).Spec.Egress
	}
	if rules := egress(bucketValues); len(rules) != 1 || len(rules[0].To) != 0 || len(rules[0].Ports) != 0 {
		t.Errorf("got egress rules %+v, want one rule that allows everything", rules)
	}
	narrow := egress(bucketValues + "networkPolicy: {egress: [{to: [{ipBlock: {cidr: 10.0.0.7/32}}]}]}")
	if len(narrow) != 1 || len(narrow[0].To) != 1 {
		t.Errorf("got egress rules %+v, want one rule for one address", narrow)
	}
}

// The two files in examples/spegel use the same node port for layoutproxy.
func TestSpegelExampleUsesNodePort(t *testing.T) {
	const dir = "../../../../examples/spegel/"
	values, err := os.ReadFile(dir + "layoutproxy.yaml")
	must(t, err)
	s := one[*core.Service](t, objects(t, string(values)))
	if s.Spec.Type != core.ServiceTypeNodePort || s.Spec.Ports[0].NodePort != 30500 {
		t.Errorf("got service %+v, want the type NodePort with the node port 30500", s.Spec)
	}
	text, err := os.ReadFile(dir + "spegel.yaml")
	must(t, err)
	// The keys are defined in charts/spegel/values.yaml of spegel-org/spegel.
	var spegel struct {
		Spegel struct {
			MirroredRegistries      []string `json:"mirroredRegistries"`
			AdditionalMirrorTargets []string `json:"additionalMirrorTargets"`
		} `json:"spegel"`
	}
	must(t, yaml.UnmarshalStrict(text, &spegel))
	if got := spegel.Spegel.AdditionalMirrorTargets; !slices.Equal(got, []string{"http://$(NODE_IP):30500"}) {
		t.Errorf("spegel.yaml has the mirror targets %q, want only http://$(NODE_IP):30500", got)
	}
}

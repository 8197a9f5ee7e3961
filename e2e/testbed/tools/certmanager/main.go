// The programs of a cert-manager installation, set as its own programs set them where nothing is asked for: the controllers without
// an argument, and `webhook` and `cainjector`. Its own main packages are in modules that no proxy serves. Flags that are not declared
// here have no effect. `external-issuer` is an issuer of another API group, as its authors build it with cert-manager's libraries.
package main

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"log"
	"math/big"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	kubescheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	apireg "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
	metrics "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cert-manager/cert-manager/internal/webhook"
	"github.com/cert-manager/cert-manager/pkg/api"
	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/cert-manager/cert-manager/pkg/controller"
	_ "github.com/cert-manager/cert-manager/pkg/controller/acmechallenges"
	_ "github.com/cert-manager/cert-manager/pkg/controller/acmeorders"
	"github.com/cert-manager/cert-manager/pkg/controller/cainjector"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificate-shim/gateways"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificate-shim/ingresses"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/acme"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/metrics"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/acme"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
	logs "github.com/cert-manager/cert-manager/pkg/logs"
	"github.com/cert-manager/cert-manager/pkg/util"
	"github.com/cert-manager/cert-manager/pkg/util/pki"
	webhookoptions "github.com/cert-manager/cert-manager/pkg/webhook/options"
)

// How many objects each controller handles at once.
const workers = 5

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctrl.SetLogger(klog.Background())
	arguments := os.Args[1:]
	run := runControllers
	if len(arguments) > 0 {
		switch arguments[0] {
		case "webhook":
			run, arguments = runWebhook, arguments[1:]
		case "cainjector":
			run, arguments = runCAInjector, arguments[1:]
		case "external-issuer":
			run, arguments = runExternalIssuer, arguments[1:]
		}
	}
	if err := run(ctx, arguments); err != nil {
		log.Fatal(err)
	}
}

func newFlags() *pflag.FlagSet {
	flags := pflag.NewFlagSet("cert-manager", pflag.ExitOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	return flags
}

func runWebhook(ctx context.Context, arguments []string) error {
	config, err := webhookoptions.NewWebhookConfiguration()
	if err != nil {
		return err
	}
	flags := newFlags()
	webhookoptions.AddConfigFlags(flags, config)
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	server, err := webhook.NewCertManagerWebhookServer(logs.Log, *config)
	if err != nil {
		return err
	}
	return server.Run(ctx)
}

func runCAInjector(ctx context.Context, arguments []string) error {
	flags := newFlags()
	namespace := flags.String("leader-election-namespace", "kube-system", "where the Lease is")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	// It writes as the field manager that its user agent names.
	config = util.RestConfigWithUserAgent(config, "cainjector")
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		kubescheme.AddToScheme, cmapi.AddToScheme, apiext.AddToScheme, apireg.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Metrics:                       metrics.Options{BindAddress: "0"},
		LeaderElection:                true,
		LeaderElectionID:              "cert-manager-cainjector-leader-election",
		LeaderElectionNamespace:       *namespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return err
	}
	err = cainjector.RegisterAllInjectors(ctx, manager, cainjector.SetupOptions{
		EnableCertificatesDataSource: true,
		EnabledReconcilersFor: map[string]bool{
			cainjector.MutatingWebhookConfigurationName:   true,
			cainjector.ValidatingWebhookConfigurationName: true,
			cainjector.APIServiceName:                     true,
			cainjector.CustomResourceDefinitionName:       true,
		},
	})
	if err != nil {
		return err
	}
	return manager.Start(ctx)
}

// Signs each approved request to an issuer of a group, with a CA that it creates at the start.
func runExternalIssuer(ctx context.Context, arguments []string) error {
	flags := newFlags()
	group := flags.String("group", "issuers.example.test", "the API group of its issuers")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	key, err := pki.GenerateECPrivateKey(256)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "External"},
		NotAfter:              time.Now().AddDate(10, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	_, ca, err := pki.SignCertificate(template, template, key.Public(), key)
	if err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{Scheme: api.Scheme, Metrics: metrics.Options{BindAddress: "0"}})
	if err != nil {
		return err
	}
	client := manager.GetClient()
	sign := func(ctx context.Context, of ctrl.Request) (ctrl.Result, error) {
		var request cmapi.CertificateRequest
		if err := client.Get(ctx, of.NamespacedName, &request); err != nil {
			return ctrl.Result{}, ctrlclient.IgnoreNotFound(err)
		}
		isDone := len(request.Status.Certificate) > 0 || !apiutil.CertificateRequestIsApproved(&request)
		if request.Spec.IssuerRef.Group != *group || isDone {
			return ctrl.Result{}, nil
		}
		template, err := pki.CertificateTemplateFromCertificateRequest(&request)
		if err != nil {
			return ctrl.Result{}, err
		}
		bundle, err := pki.SignCSRTemplate([]*x509.Certificate{ca}, key, template)
		if err != nil {
			return ctrl.Result{}, err
		}
		request.Status.Certificate, request.Status.CA = bundle.ChainPEM, bundle.CAPEM
		apiutil.SetCertificateRequestCondition(&request, cmapi.CertificateRequestConditionReady, cmmeta.ConditionTrue,
			cmapi.CertificateRequestReasonIssued, "signed")
		return ctrl.Result{}, client.Status().Update(ctx, &request)
	}
	err = ctrl.NewControllerManagedBy(manager).For(&cmapi.CertificateRequest{}).Complete(reconcile.Func(sign))
	if err != nil {
		return err
	}
	return manager.Start(ctx)
}

// Flags of the controllers.
type settings struct {
	clusterResourceNamespace string
	solverImage              string
	controllers              []string
	leaderElect              bool
	leaseNamespace           string
	healthAddress            string
	gatewayAPI               bool
}

func runControllers(ctx context.Context, arguments []string) error {
	var set settings
	flags := newFlags()
	flags.StringVar(&set.clusterResourceNamespace, "cluster-resource-namespace", "cert-manager", "where the Secrets of ClusterIssuers are")
	flags.StringVar(&set.solverImage, "acme-http01-solver-image", "", "the image of the Pods that answer challenges")
	flags.StringSliceVar(&set.controllers, "controllers", []string{"*"}, "the controllers to run; * is all, and -name is without that one")
	flags.BoolVar(&set.leaderElect, "leader-elect", true, "whether to wait for the Lease")
	flags.StringVar(&set.leaseNamespace, "leader-election-namespace", "kube-system", "where the Lease is")
	flags.StringVar(&set.healthAddress, "internal-healthz-listen-address", ":9403", "where to answer the kubelet; nowhere if it is empty")
	flags.BoolVar(&set.gatewayAPI, "enable-gateway-api", false, "whether Gateways are served, whose CRDs must exist then")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if set.healthAddress != "" {
		go func() {
			healthy := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
			log.Fatal(http.ListenAndServe(set.healthAddress, healthy))
		}()
	}
	if !set.leaderElect {
		return set.run(ctx)
	}
	return set.lead(ctx)
}

// Runs the controllers while this process holds cert-manager's Lease, and releases it at the end.
func (set settings) lead(ctx context.Context) error {
	config, err := clientConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, set.leaseNamespace, "cert-manager-controller",
		client.CoreV1(), client.CoordinationV1(), resourcelock.ResourceLockConfig{Identity: host + "-external-cert-manager-controller"})
	if err != nil {
		return err
	}
	leading, stop := context.WithCancel(ctx)
	defer stop()
	var result error
	leaderelection.RunOrDie(leading, leaderelection.LeaderElectionConfig{
		Lock:            lock,
		LeaseDuration:   60 * time.Second,
		RenewDeadline:   40 * time.Second,
		RetryPeriod:     15 * time.Second,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				result = set.run(ctx)
				stop()
			},
			OnStoppedLeading: func() {},
		},
	})
	return result
}

func clientConfig() (*rest.Config, error) {
	return clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
}

func (set settings) options() controller.ContextOptions {
	return controller.ContextOptions{
		Kubeconfig:         os.Getenv("KUBECONFIG"),
		KubernetesAPIQPS:   20,
		KubernetesAPIBurst: 50,
		ConfigOptions:      controller.ConfigOptions{EnableGatewayAPI: set.gatewayAPI},
		IssuerOptions: controller.IssuerOptions{
			ClusterResourceNamespace:        set.clusterResourceNamespace,
			ClusterIssuerAmbientCredentials: true,
		},
		ACMEOptions: controller.ACMEOptions{
			HTTP01SolverImage:                 set.solverImage,
			HTTP01SolverResourceRequestCPU:    resource.MustParse("10m"),
			HTTP01SolverResourceRequestMemory: resource.MustParse("64Mi"),
			HTTP01SolverResourceLimitsCPU:     resource.MustParse("100m"),
			HTTP01SolverResourceLimitsMemory:  resource.MustParse("64Mi"),
			ACMEHTTP01SolverRunAsNonRoot:      true,
			DNS01CheckAuthoritative:           true,
			DNS01CheckRetryPeriod:             10 * time.Second,
		},
		IngressShimOptions: controller.IngressShimOptions{
			DefaultIssuerKind:                 "Issuer",
			DefaultIssuerGroup:                "cert-manager.io",
			DefaultAutoCertificateAnnotations: []string{"kubernetes.io/tls-acme"},
		},
		CertificateOptions: controller.CertificateOptions{
			CopiedAnnotationPrefixes: []string{
				"*", "-kubectl.kubernetes.io/", "-fluxcd.io/", "-argocd.argoproj.io/",
			},
			CertificateRequestMinimumBackoffDuration: time.Hour,
			CertificateRequestMaximumBackoffDuration: 32 * time.Hour,
		},
		SchedulerOptions: controller.SchedulerOptions{MaxConcurrentChallenges: 60},
	}
}

// Whether a controller runs.
func (set settings) enables(name string) bool {
	if name == "gateway-shim" && !set.gatewayAPI {
		return false
	}
	return !slices.Contains(set.controllers, "-"+name) &&
		(slices.Contains(set.controllers, "*") || slices.Contains(set.controllers, name))
}

// Runs the controllers until the context ends.
func (set settings) run(ctx context.Context) error {
	factory, err := controller.NewContextFactory(ctx, set.options())
	if err != nil {
		return err
	}
	var controllers []controller.Interface
	for name, construct := range controller.Known() {
		if !set.enables(name) {
			continue
		}
		it, err := construct(factory)
		if err != nil {
			return err
		}
		controllers = append(controllers, it)
	}
	shared, err := factory.Build()
	if err != nil {
		return err
	}
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	shared.HTTP01ResourceMetadataInformersFactory.Start(ctx.Done())
	if set.gatewayAPI {
		shared.GWShared.Start(ctx.Done())
	}

	group, ctx := errgroup.WithContext(ctx)
	for _, it := range controllers {
		group.Go(func() error { return it.Run(workers, ctx) })
	}
	return group.Wait()
}
